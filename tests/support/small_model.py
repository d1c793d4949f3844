"""A small model for the tests of the runtime: its code, its data, its jobs, and requests for it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from include.runtime.config import CheckJob, Model, ScoreJob, TrainJob

CODE = """
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def estimator(C=1.0):
    return on_features(LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10))


def regressor():
    return on_features(LinearRegression())


def on_features(last):
    numbers = (SimpleImputer(), ["distance", "night"])
    categories = (OneHotEncoder(handle_unknown="ignore"), ["origin"])
    return make_pipeline(make_column_transformer(numbers, categories), last)
"""
FEATURES = [
    {"name": "distance", "type": "number"},
    {"name": "origin", "type": "category"},
    {"name": "night", "type": "boolean"},
]
ROW = {
    "distance": ("FP64", 500.0),
    "origin": ("BYTES", "EWR"),
    "night": ("BOOL", True),
    "id": ("BYTES", "flight-1"),
    "at": ("BYTES", "2013-06-01T08:00:00"),
}
"""Input → its datatype and a value that is taken."""


def model_block(folder: Path, code: str = "", **changes: Any) -> Model:
    """Write CODE and then ``code`` into a module that no other test imports, and describe the model in it.

    Functions are named without their module: ``feature_code="prepare"``.
    """
    folder.mkdir(exist_ok=True)
    module = f"model_{uuid.uuid4().hex[:12]}"
    (folder / f"{module}.py").write_text(CODE + code, encoding="utf-8")
    block: dict[str, Any] = {
        "name": "small",
        "task": "binary_classification",
        "target": "late",
        "key": "id",
        "event_time": "at",
        "features": FEATURES,
        "estimator": "estimator",
        "feature_code": None,
        "parameters": {},
        "trusted_types": [],
        "code": str(folder),
        **changes,
    }
    for field in ("estimator", "feature_code"):
        if block[field] and ":" not in block[field]:
            block[field] = f"{module}:{block[field]}"
    block["trusted_types"] = [name.replace("MODULE", module) for name in block["trusted_types"]]
    return cast(Model, block)


def small_data(rows: int = 400) -> pd.DataFrame:
    """Rows of May 2013, evenly over the month, with missing values in each feature; "late" hangs on the distance."""
    random = np.random.default_rng(0)
    distance = random.uniform(100, 1000, rows)
    late = (random.random(rows) < distance / 1000).astype(int)
    frame = pd.DataFrame(
        {
            "id": [f"flight-{number}" for number in range(rows)],
            "at": pd.date_range("2013-05-01", "2013-05-31", periods=rows).as_unit("us"),
            "distance": distance,
            "origin": random.choice(["EWR", "JFK"], rows).astype(object),
            "night": random.integers(0, 2, rows).astype(bool).astype(object),
            "late": late,
            "delay": distance / 10 + 3 * late,
        }
    )
    frame.loc[::50, ["distance", "origin", "night"]] = None
    return frame


def train_job(folder: Path, model: Model, rows: pd.DataFrame | None = None, **changes: Any) -> TrainJob:
    """A job that trains on all but the last ten days of the rows."""
    job = {
        "model": model,
        "data": [write_rows(folder, rows)],
        "train_until": "2013-05-21T00:00:00",
        "holdout_from": "2013-05-21T00:00:00",
        "holdout_until": "2013-06-01T00:00:00",
        "out": str(folder / "candidate"),
        "champion": None,
        "compile_tolerance": None,
        **changes,
    }
    return cast(TrainJob, job)


def score_job(folder: Path, model: Model, sha256: str, **changes: Any) -> ScoreJob:
    """A job that scores the last day with what the training job made."""
    job = {
        "model": model,
        "artifact": str(folder / "candidate"),
        "sha256": sha256,
        "compiled": None,
        "data": [write_rows(folder, None)],
        "from": "2013-05-30T00:00:00",
        "until": None,
        "out": str(folder / "scores" / "scored.parquet"),
        **changes,
    }
    return cast(ScoreJob, job)


def check_job(folder: Path, model: Model, rows: pd.DataFrame | None = None, **changes: Any) -> CheckJob:
    """A job that checks the model's contract on a sample of the rows."""
    job = {
        "model": model,
        "sample": [write_rows(folder, rows)],
        "rows": 300,
        "out": str(folder / "contract.json"),
        **changes,
    }
    return cast(CheckJob, job)


def write_rows(folder: Path, rows: pd.DataFrame | None) -> str:
    path = folder / "2013-05.parquet"
    (small_data() if rows is None else rows).to_parquet(path, index=False)
    return str(path)


def request(rows: int = 1, **changes: Any) -> dict[str, Any]:
    """A request for ``rows`` equal rows; ``changes`` replaces parts of an input, or leaves it out when None."""
    inputs = []
    for name, (datatype, value) in ROW.items():
        if changes.get(name, {}) is not None:
            entry = {"name": name, "shape": [rows], "datatype": datatype, "data": [value] * rows}
            inputs.append(entry | changes.get(name, {}))
    return {"inputs": inputs}


def body(rows: int = 1, **changes: Any) -> bytes:
    """The bytes of such a request."""
    return json.dumps(request(rows, **changes)).encode()
