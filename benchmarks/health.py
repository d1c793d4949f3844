"""``measure_health`` as a whole on a large window, in a separate process: ``python -m benchmarks.health``.

All data is in files as on the platform: a prediction log in the lake, ground truth, the rows that training reads, and
the version's bundle. A twentieth of one file is logged twice. Prints ``{"seconds", "peak_mb", "before_mb"}``.
Arguments: rows of the window, and of each file.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.drift_data import SHARES, columns_of, drift_spec
from benchmarks.drift_engines import _peak, _reset_peak
from include.core.drift.profile import build_profile
from include.core.quality.estimation import build_estimator
from include.core.spec import ModelSpec
from include.settings import Settings
from include.stages.installation import open_installation
from include.stages.monitoring import measure_health
from tests.support.bundles import UnregisteredBundles

WINDOW = "2013-05-15"
NUMBERS, CATEGORIES = 17, 3
REFERENCE_ROWS = 50_000


def quality_spec() -> ModelSpec:
    """The columns of the drift benchmark, for a classifier with metrics by slice."""
    values = drift_spec(NUMBERS, CATEGORIES, 0.05).model_dump(by_alias=True, exclude_unset=True)
    metrics = {"primary": "roc_auc", "also": ["brier", "log_loss", "calibration_error"], "slices": ["c0"]}
    return ModelSpec.model_validate(values | {"task": "binary_classification", "metrics": metrics})


def rows_of(spec: ModelSpec, rows: int, seed: int) -> pd.DataFrame:
    """Features, prediction, key and ground truth."""
    random = np.random.default_rng(seed)
    names = np.array([f"category {code}" for code in range(len(SHARES))])
    columns = columns_of(spec, rows, random)
    frame = pd.DataFrame({name: names[v] if name.startswith("c") else v for name, v in columns.items()})
    return frame.assign(id=[f"{seed}-{n}" for n in range(rows)], y=random.random(rows) < frame["prediction"])


def write_window(home: Path, spec: ModelSpec, rows: int, rows_per_file: int) -> None:
    """Write predictions in several files, ground truth and source data in one file each, and the bundle."""
    log = home / "lake" / "predictions" / spec.name / WINDOW
    bundle = home / "artifacts" / spec.name / "1"
    for folder in (log, home / "truth", home / "data", bundle):
        folder.mkdir(parents=True)
    frames = []
    for number, start in enumerate(range(0, rows, rows_per_file), 1):
        frame = rows_of(spec, min(rows_per_file, rows - start), number)
        frames.append(frame)
        fixed = {"request_id": frame["id"], "row": 0, "received": float(number) + frame.index, "version": "1"}
        fixed |= {"release": "production@1", "key": frame["id"], "event_time": pd.Timestamp("2013-05-15")}
        logged = pd.DataFrame({**fixed, **frame[["prediction", *spec.feature_names]]})
        write_predictions(logged, spec, log / f"1-{number}.parquet")
        if number == 1:
            again = logged.iloc[: len(logged) // 20]
            write_predictions(again.assign(received=again["received"] + 1e9), spec, log / "1-again.parquet")
    frame = pd.concat(frames, ignore_index=True)
    frame[["id", "y"]].to_parquet(home / "truth" / f"{WINDOW}.parquet", index=False)
    frame[["id", *spec.feature_names]].to_parquet(home / "data" / f"{WINDOW}.parquet", index=False)
    reference = rows_of(spec, REFERENCE_ROWS, 0)
    contents: dict[str, Any] = {"profile": build_profile(reference, spec, reference["prediction"])}
    contents |= {"estimator": build_estimator(reference, spec), "metrics": {"quality": {"roc_auc": {"value": 0.8}}}}
    for name, values in contents.items():
        (bundle / f"{name}.json").write_text(json.dumps(values))


def write_predictions(logged: pd.DataFrame, spec: ModelSpec, path: Path) -> None:
    """Write a file as gathering does, with the same column types."""
    kinds = {"category": pa.string(), "number": pa.float64()}
    features = [(feature.name, kinds[feature.type]) for feature in spec.features]
    fixed = [("request_id", pa.string()), ("row", pa.int64()), ("received", pa.float64()), ("version", pa.string())]
    fixed += [("release", pa.string()), ("key", pa.string()), ("event_time", pa.timestamp("us"))]
    schema = pa.schema([*fixed, ("prediction", pa.float64()), *features])
    pq.write_table(pa.Table.from_pandas(logged, schema=schema, preserve_index=False), path, compression="zstd")


def measured(home: Path, spec: ModelSpec) -> dict[str, float]:
    """Measure the window in the same way as the task."""
    installation = open_installation(Settings(home=home))
    installation = replace(installation, registry=UnregisteredBundles(installation.settings))
    before, start = _reset_peak(), time.perf_counter()
    row = measure_health(installation, spec, WINDOW)
    seconds = time.perf_counter() - start
    assert row.data_quality.skew and row.data_quality.skew.rows, "nothing was compared with the source"
    assert row.service.duplicates, "nothing was logged twice"
    return {"seconds": seconds, "peak_mb": _peak(), "before_mb": before}


def main(rows: str = "1000000", rows_per_file: str = "100000") -> None:
    """Write a window of ``rows`` predictions in files of ``rows_per_file``, measure it, print seconds and memory."""
    spec = quality_spec()
    sources = {name: {"path": f"{name}/{{window}}.parquet"} for name in ("data", "truth")}
    values = spec.model_dump(by_alias=True, exclude_unset=True)
    spec = ModelSpec.model_validate(values | {name: values[name] | {"source": sources[name]} for name in sources})
    with tempfile.TemporaryDirectory(prefix="eg-quality-") as name:
        home = Path(name)
        os.environ["EVERGREEN_HOME"] = name
        os.environ["AIRFLOW_CONN_EVERGREEN_LAKE"] = json.dumps({"conn_type": "fs", "extra": {"path": name}})
        pid = os.fork()  # so that writing does not count toward the measured memory
        if pid == 0:
            write_window(home, spec, int(rows), int(rows_per_file))
            os._exit(0)
        if os.waitpid(pid, 0)[1]:
            raise SystemExit("the window could not be written")
        print(json.dumps(measured(home, spec)))


if __name__ == "__main__":
    main(*sys.argv[1:])
