"""Bundles with a compiled model, for tests that run where there is no compiler.

Airflow's environment has another protobuf than the compiler needs. So the files next to this module were compiled in a
build's environment, and tests/integration/test_compiling.py compares them with what is compiled there today:
``small_model.onnx`` is the estimator of tests.support.small_model, fitted to its data; ``small_regressor.onnx`` is a
LinearRegression on distance and night, fitted to the rows without missing values, for which it has no prediction.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from include.runtime import train
from include.runtime.hashes import file_hash
from tests.support.small_model import FEATURES, model_block, train_job

HERE = Path(__file__).parent
CLASSIFIER, REGRESSOR = HERE / "small_model.onnx", HERE / "small_regressor.onnx"
NUMBERS = [feature for feature in FEATURES if feature["type"] != "category"]
REGRESSOR_CODE = "\n\ndef bare():\n    return LinearRegression()\n"


def server_config(
    folder: Path, model: Any, compiled: Path | None = None, rows: pd.DataFrame | None = None, **changes: Any
) -> Any:
    """Train the model in ``folder``; the configuration of a server of it, by ``compiled`` if given."""
    train.main(train_job(folder, model, rows))
    bundle = folder / "candidate"
    if compiled:
        shutil.copy(compiled, bundle / "model.onnx")
    (folder / "token").write_text("test-token\n", encoding="utf-8")
    return {
        "model": model,
        "version": "3",
        "environment": "production",
        "release": "production@7",
        "build": "b1",
        "artifact": str(bundle),
        "sha256": file_hash(bundle / "model.skops"),
        "compiled": file_hash(bundle / "model.onnx") if compiled else None,
        "host": "127.0.0.1",
        "port": 0,
        "token_file": str(folder / "token"),
        "optional_inputs_file": str(folder / "optional.json"),
        "log_dir": None,
        "max_rows": 100,
        "max_body_bytes": 20_000,
        "event_time_from_year": 1970,
        "event_time_days_ahead": 400,
        **changes,
    }


def small_classifier(folder: Path) -> Any:
    """A server's configuration for the small model, compiled."""
    return server_config(folder, model_block(folder / "code"), CLASSIFIER)
