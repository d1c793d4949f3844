"""``python -m include.embedded.health <component>``: the health check of Airflow's containers in compose.yaml.

Asks the api-server, which knows when each component (``scheduler``, ``triggerer``, ``dag_processor``, ``metadatabase``)
last sent a heartbeat. Airflow's own check imports all of Airflow, which costs seconds of CPU time per check.
"""

from __future__ import annotations

import json
import os
import sys
from urllib.request import urlopen


def main(component: str) -> str | None:
    """The component's problem, or None when it is healthy."""
    server = os.environ["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"].removesuffix("/execution/")
    try:
        with urlopen(f"{server}/api/v2/monitor/health", timeout=5) as response:
            status = json.load(response)[component]["status"]
    except OSError as error:
        return f"the api-server does not answer ({error})"
    return None if status == "healthy" else f"{component} reports '{status}'"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
