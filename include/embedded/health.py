"""``python -m include.embedded.health <part>``: the health check of Airflow's containers in compose.yaml.

Asks the api-server, which knows when each part (``scheduler``, ``triggerer``, ``dag_processor``, and ``metadatabase``)
last reported. Airflow's own check of a part imports all of Airflow: seconds of a processor, every time.
"""

from __future__ import annotations

import json
import os
import sys
from urllib.request import urlopen


def main(part: str) -> str | None:
    """What is wrong with the part, or None."""
    server = os.environ["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"].removesuffix("/execution/")
    try:
        with urlopen(f"{server}/api/v2/monitor/health", timeout=5) as response:
            status = json.load(response)[part]["status"]
    except OSError as error:
        return f"the api-server does not answer ({error})"
    return None if status == "healthy" else f"{part} reports '{status}'"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
