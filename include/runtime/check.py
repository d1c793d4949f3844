"""The contract of a model's code: ``python -m runtime.check job.json`` writes contract.json.

The estimator can be built and fitted on a sample, its predictions are finite, deterministic and of the right shape,
and it survives being saved as an artifact and loaded in another process, as servers and jobs do.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from . import artifact
from .config import CheckJob, Model
from .frames import feature_frame, read_rows
from .jobs import MISTAKE, ModelError, run, write_json
from .model_code import (
    call,
    estimator_parameters,
    fit,
    hidden_modules,
    make_estimator,
    predict,
    prepare,
    same_predictions,
)
from .predictions import require_finite

PREDICTED = 200
"""How many rows of the sample are predicted."""


def main(job: CheckJob) -> None:
    """Check the contract; write the answer, its reason and the result of each check to ``job["out"]``."""
    checks: list[dict[str, str]] = []
    parameters = None
    try:
        _check(job, lambda name: checks.append({"name": name, "answer": "pass", "reason": "passed"}))
        parameters = estimator_parameters(job["model"])
        answer, reason = "pass", f"all {len(checks)} checks of the contract passed"
    except ModelError as mistake:
        answer, reason = "fail", str(mistake)
        checks.append({"name": "the next check", "answer": "fail", "reason": reason})
    print(f"{answer}: {reason}", flush=True)
    report = {"answer": answer, "reason": reason, "checks": checks, "parameters": parameters}
    write_json(Path(job["out"]), report)


def _check(job: CheckJob, passed: Callable[[str], None]) -> None:
    model = job["model"]
    estimator = make_estimator(model)
    passed("the estimator can be built")
    rows = sample(model, job["sample"], job["rows"])
    features = prepare(model, rows)
    passed("the features can be prepared")
    fitted = fit(model, estimator, features, _target(rows, model))
    passed("it can be fitted on a sample")
    batch = features.head(PREDICTED)
    first = require_finite(call(predict, "predict", model, fitted, batch))
    passed("it predicts one finite value per row")
    require_finite(call(predict, "predict of one row", model, fitted, batch.head(1)))
    if not same_predictions(first, predict(model, fitted, batch)):
        raise ModelError("predicting the same rows twice gave different values. Remove the randomness from predict.")
    passed("its predictions are deterministic")
    with tempfile.TemporaryDirectory() as folder:
        digest = artifact.save(fitted, Path(folder), model, {})
        loaded = _score_in_new_process(Path(folder), digest, model, rows.head(PREDICTED))
    if not same_predictions(predict(model, fitted, prepare(model, rows.head(PREDICTED))), loaded):
        raise ModelError("the model predicts differently after being saved and loaded. Use types that skops supports.")
    passed("it survives being saved and loaded")
    if hidden := hidden_modules(model):
        raise ModelError(
            f"the model's code can't import {', '.join(hidden)}: another module has the same name. Rename it."
        )
    passed("no module is shadowed by another one")


def _score_in_new_process(folder: Path, sha256: str, model: Model, rows: pd.DataFrame) -> np.ndarray:
    """Predictions of the artifact in ``folder``, made by a scoring job in a fresh process.

    Raises ModelError with the job's own message when it can't load the model or predict.
    """
    names = [feature["name"] for feature in model["features"]]
    identity = {name: range(len(rows)) for name in (model["key"], model["event_time"]) if name not in names}
    data, out, job = folder / "rows.parquet", folder / "scored.parquet", folder / "score.json"
    rows[names].assign(**identity).to_parquet(data, index=False)
    described = {"model": model, "artifact": str(folder), "sha256": sha256, "data": [str(data)], "out": str(out)}
    write_json(job, described)
    command = [sys.executable, "-m", f"{__package__}.score", str(job)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode == MISTAKE:
        raise ModelError(done.stderr.strip())
    if done.returncode != 0:
        lines = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise ModelError(f"loading the model and predicting in a new process failed (exit {done.returncode}): {lines}")
    predicted: np.ndarray = pd.read_parquet(out)["prediction"].to_numpy()
    return predicted


def sample(model: Model, paths: list[str], count: int) -> pd.DataFrame:
    """Rows of real data, or synthetic rows of the right types while there is no data yet."""
    names = [feature["name"] for feature in model["features"]]
    if paths:
        rows = read_rows(paths, [*names, model["target"]])
        return rows.sample(min(count, len(rows)), random_state=0).reset_index(drop=True)
    random = np.random.default_rng(0)
    columns: dict[str, np.ndarray] = {}
    for feature in model["features"]:
        if feature["type"] == "category":
            columns[feature["name"]] = random.choice(["a", "b", "c"], count)
        elif feature["type"] == "boolean":
            columns[feature["name"]] = random.integers(0, 2, count)
        else:
            columns[feature["name"]] = random.normal(10, 3, count)
    columns[model["target"]] = (
        np.arange(count) % 2 if model["task"] == "binary_classification" else random.normal(10, 3, count)
    )
    return pd.DataFrame(columns)


def _target(rows: pd.DataFrame, model: Model) -> np.ndarray:
    values: np.ndarray = feature_frame(rows, [{"name": model["target"], "type": "number"}])[model["target"]].to_numpy()
    if model["task"] != "binary_classification":
        return values
    if not np.isfinite(values).all():
        raise ModelError(f"target '{model['target']}' has missing or infinite values. Leave such rows out of the data.")
    values = values.astype(int)
    if len(set(values)) < 2:  # a small sample of a rare class
        values = np.arange(len(values)) % 2
    return values


if __name__ == "__main__":
    run(main)
