"""Preloading: tasks are forked from the scheduler or from a Celery worker, so they don't pay for the imports made here.
Nor do the processes that parse Dag files, which are forked from the Dag processor.

Copied to ``$AIRFLOW_HOME/config`` by ``make up``, and imported by each of Airflow's processes. Imports only: no
threads, no connections. Tasks keep using the code that was imported here, so restart the platform after a change in
``plugins/`` or ``include/`` (``make down up``).
"""

import atexit
import gc
import importlib
import logging
import os
import pkgutil
import sys

# The interpreter looks for cycles once more when it ends, which took an api-server three seconds of 'make down'.
atexit.register(gc.freeze)

# Names rather than import statements, because linters remove unused imports.
PRELOADED = (
    "airflow.dag_processing.dagbag",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.operators.trigger_dagrun",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "great_expectations.expectations",
    "matplotlib.figure",
    "mlflow.tracking",
    "pandas",
    "pyarrow.parquet",
    "sklearn.metrics",
    "evergreen.model_dags",
    "include.stages.training",
    "include.adapters.data.expectations",
    "include.stages.deployment",
    "include.adapters.engines.environments",
    "include.adapters.git",
    "include.pages.history",
    "include.pages.window",
    "include.adapters.data.gathering",
)
PARSED = ("evergreen.choices", "evergreen.form_param", "evergreen.model_dags", "evergreen.run_params")
PACKAGES = ("evergreen.operators", "evergreen.sensors", "evergreen.triggers")
"""All modules of these packages are imported too."""


def preload(modules: tuple[str, ...] = PRELOADED) -> None:
    """Import what tasks use. A module that can't be imported is logged, and the task that needs it reports it."""
    names = list(modules)
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        names += [f"{package}.{module.name}" for module in pkgutil.iter_modules(path)]
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:
            logging.getLogger(__name__).warning("could not preload %s", name, exc_info=True)


# With Celery, no task is forked from the scheduler; workers preload when they have given back lost tasks
# (celery_config.py).
if sys.argv[1:2] == ["scheduler"] and "Celery" not in os.environ.get("AIRFLOW__CORE__EXECUTOR", ""):
    preload()
elif sys.argv[1:2] == ["dag-processor"]:
    preload(PARSED)
