"""How long the Dag files take to parse with 1 to 1,000 models, one after the other in a new process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from include.settings import PROJECT

CODE = """
import time
from airflow.dag_processing.dagbag import DagBag
start = time.perf_counter()
bag = DagBag(dag_folder={dags!r})
assert not bag.import_errors, bag.import_errors
print(len(bag.dags), time.perf_counter() - start)
"""


def seconds_to_parse(models: int, runs: int = 3) -> tuple[int, float]:
    """The number of Dags, and the median seconds to parse ``dags/`` with this many models."""
    with tempfile.TemporaryDirectory() as folder:
        text = (PROJECT / "include" / "models" / "flights" / "model.yaml").read_text(encoding="utf-8")
        for number in range(models):
            path = Path(folder) / f"flights{number}" / "model.yaml"
            path.parent.mkdir()
            path.write_text(text.replace("name: flights", f"name: flights{number}", 1), encoding="utf-8")
        environment = {
            **os.environ,
            "AIRFLOW_HOME": f"{folder}/.airflow",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "240",
            "EVERGREEN_MODELS": folder,
        }
        command = [sys.executable, "-c", CODE.format(dags=str(PROJECT / "dags"))]
        timings = []
        for _ in range(runs):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            dags, seconds = done.stdout.strip().splitlines()[-1].split()
            timings.append((int(dags), float(seconds)))
        return sorted(timings, key=lambda pair: pair[1])[len(timings) // 2]
