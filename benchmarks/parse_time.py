"""How long the Dag files take to parse with 1 to 1,000 models: ``python -m benchmarks.parse_time``.

All files one after the other in a new process; a task parses one file, of which it needs one Dag.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from include.settings import PROJECT

CODE = """
import sys, time
from include.embedded.airflow_local_settings import preload
if sys.argv[2:]:
    preload()
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
start = time.perf_counter()
bag = DagBag(dag_folder=sys.argv[1])
parsed = time.perf_counter()
assert bag.dags and not bag.import_errors, bag.import_errors
for dag in bag.dags.values():
    DagSerialization.to_dict(dag)
print(len(bag.dags), parsed - start, time.perf_counter() - parsed)
"""


def measured() -> Iterator[tuple[str, str]]:
    """Name and result of each measurement; Airflow's Dag processor parses, and then serializes what it parsed."""
    for models in (1, 10, 100, 1000):
        with tempfile.TemporaryDirectory() as folder:
            _write_specs(Path(folder), models)
            runs = 1 if models > 100 else 3
            dags, parsed, serialized = _median(folder, "dags", runs)
            yield f"parse dags/ with {models} model(s), {dags:.0f} Dags", f"{parsed:.2f} s"
            yield f"Airflow's serialization of these {dags:.0f} Dags", f"{serialized:.2f} s"
            of_task = {"_AIRFLOW_PARSING_CONTEXT_DAG_ID": "flights0.training"}
            _, parsed, _ = _median(folder, "dags/training.py", runs, of_task)
            yield f"parse by a task, in a worker with its imports, with {models} model(s)", f"{parsed:.3f} s"


def _write_specs(folder: Path, models: int) -> None:
    text = (PROJECT / "include" / "models" / "flights" / "model.yaml").read_text(encoding="utf-8")
    for number in range(models):
        path = folder / f"flights{number}" / "model.yaml"
        path.parent.mkdir()
        path.write_text(text.replace("name: flights", f"name: flights{number}", 1), encoding="utf-8")


def _median(folder: str, dags: str, runs: int, more: Mapping[str, str] | None = None) -> list[float]:
    """The number of Dags, and the median seconds to parse and to serialize them."""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": f"{folder}/.airflow",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "240",
        "EVERGREEN_MODELS": folder,
        **(more or {}),
    }
    command = [sys.executable, "-c", CODE, str(PROJECT / dags), *(["preload"] if more else [])]
    timings = []
    for _ in range(runs):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        timings.append([float(value) for value in done.stdout.strip().splitlines()[-1].split()])
    return [statistics.median(values) for values in zip(*timings, strict=True)]


def main() -> None:
    """Print each figure as a line of JSON, ``[what, figure]``."""
    for row in measured():
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
