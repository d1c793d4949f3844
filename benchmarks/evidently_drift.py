"""Evidently on the same files, in its own environment (pandas 2); imports nothing from Evergreen.

PSI for all columns, the fastest of the methods we tried. Prints ``{"seconds", "peak_mb", "before_mb"}``.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


def status(field: str) -> float:
    """A memory figure of this process in MB, for example VmHWM, its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def main(_: str, numbers: str, categories: str, reference: str, window: str) -> None:
    """Measure one window; takes the same arguments as ``benchmarks.drift_engines``."""
    before = status("VmRSS")
    start = time.perf_counter()
    definition = DataDefinition(
        numerical_columns=[*(f"n{number}" for number in range(int(numbers))), "prediction"],
        categorical_columns=[f"c{number}" for number in range(int(categories))],
    )
    old, new = (Dataset.from_pandas(pd.read_parquet(path), data_definition=definition) for path in (reference, window))
    Report([DataDriftPreset(method="psi")]).run(new, old).dict()
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_mb": status("VmHWM"), "before_mb": before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
