"""One drift engine in a separate process, so that its memory can be measured; started by ``benchmarks.drift``.

Prints ``{"seconds", "peak_mb", "before_mb", "more"}``. Timing starts after the imports and includes reading Parquet.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.drift_data import drift_spec
from include.adapters.data.counting import count_parquet
from include.core.drift.columns import drift
from include.core.spec import ModelSpec


def main(engine: str, numbers: str, categories: str, reference: str, window: str) -> None:
    """Measure one window with one engine, and print its seconds and peak memory (MB) as JSON.

    ``reference`` and ``window`` are Parquet files with these numbers of numeric and categorical columns.
    """
    spec = drift_spec(int(numbers), int(categories), 0.05)
    measure = _evergreen if engine == "evergreen" else _plain
    print(json.dumps(measure(spec, Path(reference), Path(window))))


def _evergreen(spec: ModelSpec, reference: Path, window: Path) -> dict[str, object]:
    """The window compared with a profile that was built once, with the model."""
    profile = json.loads(reference.with_suffix(".json").read_text())
    durations: list[float] = []
    before = _reset_peak()
    for _ in range(3):
        start = time.perf_counter()
        counted = count_parquet(window, spec, profile)
        scanned = time.perf_counter() - start
        drift(profile, counted, spec)
        durations.append(time.perf_counter() - start)
    more = f"; scan only: {scanned:.2f} s"
    return {"seconds": sorted(durations)[1], "peak_mb": _peak(), "before_mb": before, "more": more}


def _plain(spec: ModelSpec, reference: Path, window: Path) -> dict[str, object]:
    """The usual hand-written version: both files in memory, PSI over deciles, KS test, chi-square test."""
    before = _reset_peak()
    start = time.perf_counter()
    old, new = pd.read_parquet(reference), pd.read_parquet(window)
    for feature in spec.features:
        left, right = old[feature.name], new[feature.name]
        if feature.type == "category":
            table = pd.concat([left.value_counts(), right.value_counts()], axis=1).fillna(0).to_numpy()
            stats.chi2_contingency(table.T + 0.5)
        else:
            edges = np.unique(np.quantile(left, np.linspace(0, 1, 11)))[1:-1]
            binned = [
                np.bincount(np.searchsorted(edges, side), minlength=len(edges) + 1) + 0.5 for side in (left, right)
            ]
            shares = [counts / counts.sum() for counts in binned]
            np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0]))
            stats.ks_2samp(left, right, method="asymp")
    return {"seconds": time.perf_counter() - start, "peak_mb": _peak(), "before_mb": before}


def _reset_peak() -> float:
    """Reset the peak memory (Linux); returns the current memory in MB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return _status("VmRSS")


def _peak() -> float:
    try:
        return _status("VmHWM")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
