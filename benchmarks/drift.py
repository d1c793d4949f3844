"""Benchmark of drift detection: ``python -m benchmarks.drift``, also part of ``make bench``.

The false alarm rate and the power (share of real changes that are detected), per column and for all columns together;
speed and memory compared with a plain numpy/scipy version and Evidently (in a separate environment, since it needs
pandas 2). The windows are seeded, so that each run prints the same shares.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from benchmarks.drift_data import SHARES, Columns, columns_of, drift_spec, write_parquet
from include.core.drift.columns import drift
from include.core.drift.counts import WindowCount, count_categories, count_numbers, counted_columns, reference_of
from include.core.drift.distribution import Array, Profile
from include.core.drift.multivariate import SHARE_OF_RATE, Sample, compare
from include.core.drift.profile import build_profile
from include.core.spec import ModelSpec

NUMBERS, CATEGORIES = 17, 3
REFERENCE_ROWS = 50_000
SIZES = (500, 5_000, 50_000)
WINDOWS = 200
REFERENCES = 10
"""The windows of each size are spread over this many references, which are random too."""
POWER_WINDOWS = 100
SHIFTS = (0.1, 0.2, 0.3)
SHARE_CHANGE = 0.05
RATE = 0.05
MULTIVARIATE_SIZES = (500, 5_000)
MULTIVARIATE_WINDOWS = 60
MULTIVARIATE_REFERENCE = 5_000
MULTIVARIATE_POWER_WINDOWS = 20
CORRELATIONS = (0.2, 0.4)
SPEED = ((NUMBERS, CATEGORIES, 300_000), (NUMBERS, CATEGORIES, 3_000_000), (85, 15, 350_000))
TIME_LIMIT = 120
QUALITY_ROWS = 1_000_000
EVIDENTLY = ("evidently==0.7.23", "pandas<3", "pyarrow")


def measured() -> Iterator[tuple[str, str]]:
    """Name and result of each measurement."""
    yield from _false_alarms()
    yield from _power()
    yield from _multivariate()
    yield from _speed()
    yield f"complete health of {QUALITY_ROWS} rows x 20 columns", _health()


def _health() -> str:
    """Seconds and peak memory of measure_health as a whole, in a separate process."""
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'plugins'}"}
    command = [sys.executable, "-m", "benchmarks.health", str(QUALITY_ROWS)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"failed: {done.stderr.strip().splitlines()[-1:]}"
    result = json.loads(done.stdout.splitlines()[-1])
    return f"{result['seconds']:.0f} s, {result['peak_mb'] - result['before_mb']:.0f} MB above its imports"


def _false_alarms() -> Iterator[tuple[str, str]]:
    spec = drift_spec(NUMBERS, CATEGORIES, RATE)
    for size in SIZES:
        alarms = 0
        for random, profile in _references(spec, WINDOWS, seed=size):
            alarms += bool(drift(profile, _count(columns_of(spec, size, random), profile, spec), spec).drifted)
        share = alarms / WINDOWS
        verdict = "met" if share <= RATE + 0.02 else "NOT MET"
        yield (
            f"drift: false alarms in {WINDOWS} windows of {size} rows",
            f"{share:.1%} at a configured rate of {RATE:.0%} (goal: at most {RATE + 0.02:.0%}, {verdict})",
        )


def _power() -> Iterator[tuple[str, str]]:
    """Each window has all changes, each in its own column; a change is detected if its column drifted."""
    spec = drift_spec(NUMBERS, CATEGORIES, RATE)
    changed = {f"shift of {shift} sd": f"n{3 * number}" for number, shift in enumerate(SHIFTS)}  # n0, n3, n6 are normal
    changed[f"a category's share {SHARES[0]:.0%} to {SHARES[0] + SHARE_CHANGE:.0%}"] = "c0"
    for size in SIZES:
        detected = dict.fromkeys(changed, 0)
        for random, profile in _references(spec, POWER_WINDOWS, seed=size + 1):
            columns = columns_of(spec, size, random)
            for number, shift in enumerate(SHIFTS):
                columns[f"n{3 * number}"] = columns[f"n{3 * number}"] + shift
            columns["c0"] = np.where(random.random(size) < SHARE_CHANGE / (1 - SHARES[0]), 0, columns["c0"])
            drifted = drift(profile, _count(columns, profile, spec), spec).drifted
            for change, column in changed.items():
                detected[change] += column in drifted
        figures = "; ".join(f"{change} {hits / POWER_WINDOWS:.0%}" for change, hits in detected.items())
        yield f"drift: detected in {POWER_WINDOWS} windows of {size} rows", figures


def _multivariate() -> Iterator[tuple[str, str]]:
    """The multivariate test: without drift, and with two columns that become correlated with unchanged marginals."""
    spec, rate = drift_spec(NUMBERS, CATEGORIES, RATE), SHARE_OF_RATE * RATE
    for size in MULTIVARIATE_SIZES:
        alarms, seconds = _judged_multivariate(spec, size, MULTIVARIATE_WINDOWS, 0.0)
        allowed = rate + 2 * (rate * (1 - rate) / MULTIVARIATE_WINDOWS) ** 0.5
        verdict = "met" if alarms / MULTIVARIATE_WINDOWS <= allowed else "NOT MET"
        yield (
            f"drift: false alarms in {MULTIVARIATE_WINDOWS} windows of {size} rows, multivariate",
            f"{alarms / MULTIVARIATE_WINDOWS:.1%} at a configured rate of {rate:.1%} (goal: at most {allowed:.1%}, two "
            f"standard errors more, {verdict}), {seconds:.2f} s per window",
        )
        detected = {rho: _judged_multivariate(spec, size, MULTIVARIATE_POWER_WINDOWS, rho)[0] for rho in CORRELATIONS}
        yield (
            f"drift: detected in {MULTIVARIATE_POWER_WINDOWS} windows of {size} rows, multivariate",
            "; ".join(
                f"correlation 0 to {rho} {hits / MULTIVARIATE_POWER_WINDOWS:.0%}" for rho, hits in detected.items()
            ),
        )


def _judged_multivariate(spec: ModelSpec, size: int, windows: int, correlation: float) -> tuple[int, float]:
    """The number of windows judged as drifted, and the seconds per window."""
    drifted, taken = 0, 0.0
    for number in range(windows):
        random = np.random.default_rng([size, number])
        sides = []
        for rows, rho in ((MULTIVARIATE_REFERENCE, 0.0), (size, correlation)):
            columns = columns_of(spec, rows, random)
            columns["n3"] = rho * columns["n0"] + (1 - rho**2) ** 0.5 * columns["n3"]
            sides.append(Sample(pd.DataFrame(columns), rows))
        start = time.perf_counter()
        reference, window = sides
        drifted += compare(reference, window, spec, seed=number).status == "drifted"
        taken += time.perf_counter() - start
    return drifted, taken / windows


def _references(spec: ModelSpec, windows: int, seed: int) -> Iterator[tuple[np.random.Generator, Profile]]:
    """A random source and a profile for each of ``windows`` windows."""
    random = np.random.default_rng(seed)
    for number in range(windows):
        if number % (windows // REFERENCES) == 0:
            columns = columns_of(spec, REFERENCE_ROWS, random)
            profile = build_profile(pd.DataFrame(columns), spec, columns["prediction"])
        yield random, profile


def _count(columns: Columns, profile: Profile, spec: ModelSpec) -> WindowCount:
    counts = {}
    for feature in counted_columns(spec):
        values, reference = columns[feature.name], reference_of(profile, feature.name)
        if feature.type == "category":
            tally = {str(code): int(rows) for code, rows in enumerate(np.bincount(values)) if rows}
            counts[feature.name] = count_categories(tally, len(values), feature, reference)
        else:
            counts[feature.name] = count_numbers(_floats(values), feature, reference)
    return WindowCount(len(columns["prediction"]), counts)


def _floats(values: Array) -> Array:
    return np.asarray(values, dtype=float)


def _speed() -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory(prefix="eg-drift-") as name:
        folder = Path(name)
        pythons = {"evergreen": sys.executable, "plain numpy/scipy": sys.executable, "Evidently": _evidently(folder)}
        for numbers, categories, rows in SPEED:
            what = f"{numbers + categories} columns x {rows} rows"
            files = [folder / "reference.parquet", folder / "window.parquet"]
            for seed, path in enumerate(files):
                write_parquet(path, drift_spec(numbers, categories, RATE), rows, seed)
            yield f"drift of {what}, profile of the reference, built once", _make_profile(files[0], numbers, categories)
            seconds_by_engine = {}
            for engine, python in pythons.items():
                result = _run(python, engine, numbers, categories, *files)
                yield f"drift of {what}, {engine}", str(result.get("text"))
                seconds_by_engine[engine] = result.get("seconds")
            ours = seconds_by_engine.pop("evergreen")
            ratios = [
                f"{engine} {seconds / ours:.0f} x" for engine, seconds in seconds_by_engine.items() if seconds and ours
            ]
            yield f"drift of {what}, slowdown of the others", ", ".join(ratios) or "unknown"


def _make_profile(reference: Path, numbers: int, categories: int) -> str:
    """Write the profile of up to 500,000 rows of the reference next to it; returns the duration."""
    start = time.perf_counter()
    frame = pq.ParquetFile(reference).read_row_group(0).to_pandas()
    profile = build_profile(frame, drift_spec(numbers, categories, RATE), frame["prediction"])
    reference.with_suffix(".json").write_text(json.dumps(profile))
    return f"{time.perf_counter() - start:.1f} s, {reference.with_suffix('.json').stat().st_size / 1000:.0f} kB"


def _run(python: str | None, engine: str, numbers: int, categories: int, *files: Path) -> dict[str, Any]:
    """Seconds and peak memory of one engine in a separate process."""
    if python is None:
        return {"text": "not measured: could not be installed"}
    module = "benchmarks.evidently_drift" if engine == "Evidently" else "benchmarks.drift_engines"
    command = [python, "-m", module, engine, str(numbers), str(categories), *map(str, files)]
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return {"text": f"did not finish within {TIME_LIMIT} s"}
    if done.returncode != 0:
        return {"text": f"failed: {done.stderr.strip().splitlines()[-1:]}"}
    result = json.loads(done.stdout.splitlines()[-1])
    above = result["peak_mb"] - result["before_mb"]
    text = f"{result['seconds']:.2f} s, {above:.0f} MB above its imports ({result['peak_mb']:.0f} MB)"
    return {"seconds": result["seconds"], "text": f"{text}{result.get('more', '')}"}


def _evidently(folder: Path) -> str | None:
    """The Python of a new environment with Evidently; None if it can't be installed."""
    uv, target = str(Path(sys.executable).with_name("uv")), folder / "evidently"
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(target)],
        [uv, "pip", "install", "--quiet", "--python", str(target / "bin" / "python"), *EVIDENTLY],
    ):
        if subprocess.run(command, env=environment, check=False, capture_output=True).returncode != 0:
            return None
    return str(target / "bin" / "python")


def main() -> None:
    """Print each figure as a line of JSON, ``[what, figure]``."""
    for what, figure in measured():
        print(json.dumps([what, figure]), flush=True)


if __name__ == "__main__":
    main()
