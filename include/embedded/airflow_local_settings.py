"""Preloading: LocalExecutor forks its workers from the scheduler, so what is imported here is free in every task.

Copied to ``$AIRFLOW_HOME/config`` by ``make up``. Imports only: no threads, no connections.
"""

import sys

if sys.argv[1:2] == ["scheduler"]:
    import include.adapters.candidate
    import include.adapters.data_checks
    import include.adapters.deployment
    import include.adapters.environments
    import include.adapters.health_report
    import include.adapters.predictions  # noqa: F401
