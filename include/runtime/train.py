"""Train a candidate; predict the holdout with it and with the champion: ``python -m runtime.train job.json``."""

from __future__ import annotations

import importlib.metadata
import time
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from . import artifact
from .compiling import NotCompiledError, compile_model
from .config import Model, TrainJob
from .frames import between, feature_frame, read_rows, typed_columns
from .importance import feature_importances
from .jobs import ModelError, run, write_json
from .model_code import call, fit, make_estimator, predict, prepare
from .predictions import require_finite
from .predictor import load_predictor

LIBRARIES = ("scikit-learn", "pandas", "numpy", "skops", "pyarrow")
EDGES = 20
"""Number of bins in the prediction histogram that servers expose."""
COMPILED_BYTES = 64 * 2**20
"""Larger models are not compiled: that would take longer than their training, and ONNX Runtime more memory."""
PARAMETERS, NAME_LENGTH, VALUE_LENGTH = 100, 100, 250
"""Largest number of reported parameters, and of characters in a name and a value."""


class TrainingReport(TypedDict):
    """The content of ``training.json``."""

    rows: int
    holdout_rows: int
    seconds: dict[str, float]
    """Step (read, fit, score, compile) → its duration."""
    trained_until: str
    """Event time of the newest training row, ISO 8601."""
    sha256: str
    """Of the artifact."""
    parameters: dict[str, str]
    """The fitted estimator's own."""
    importances: dict[str, float]
    """Feature → its share of the total permutation importance, 0 to 1; empty if it was not measured."""
    not_compiled: str
    """Why there is no ``model.onnx``; empty if there is one."""


def main(job: TrainJob) -> None:
    """Fit up to ``train_until``, predict the holdout; write artifact, holdout and training.json to ``job["out"]``.

    Also ``model.onnx``, and the column ``compiled`` of the holdout, if the model can be compiled.
    """
    model, out = job["model"], Path(job["out"])
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    names = [feature["name"] for feature in model["features"]]
    rows = read_rows(job["data"], [model["key"], model["event_time"], *names, model["target"]])
    training = between(rows, model["event_time"], None, job["train_until"])
    holdout = between(rows, model["event_time"], job["holdout_from"], job["holdout_until"])
    for what, part in (("training", training), ("holdout", holdout)):
        if part.empty:
            raise ModelError(f"there are no {what} rows: all data is on one side of {job['train_until']}. Add windows.")
    truth = target(training, model)
    print(f"{len(training)} training rows, {len(holdout)} holdout rows", flush=True)

    read = time.perf_counter()
    estimator = make_estimator(model)
    fitted = fit(model, estimator, prepare(model, training), truth)
    fit_ended = time.perf_counter()
    print(f"fitted {type(fitted).__name__} in {fit_ended - read:.1f} s", flush=True)

    features = prepare(model, holdout)
    holdout["prediction"] = require_finite(call(predict, "predict", model, fitted, features))
    if job["champion"]:
        champion = load_predictor(job["champion"], model)
        columns = typed_columns(holdout, model["features"])
        holdout["champion"] = require_finite(call(champion.predict, "predict of the champion", columns))
    described: artifact.TrainingDetails = {
        "code_path": model["code"],
        "prediction_edges": prediction_edges(holdout["prediction"].to_numpy(), model["task"]),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }
    digest = artifact.save(fitted, out, model, described)
    scored = time.perf_counter()
    not_compiled = _compile(job, fitted, holdout, out)
    compiled = time.perf_counter()
    holdout.to_parquet(out / "holdout.parquet", index=False)
    trained_until = pd.to_datetime(training[model["event_time"]]).max().isoformat()
    seconds = {
        "read": read - started,
        "fit": fit_ended - read,
        "score": scored - fit_ended,
        "compile": compiled - scored,
    }
    report: TrainingReport = {
        "rows": len(training),
        "holdout_rows": len(holdout),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "trained_until": trained_until,
        "sha256": digest,
        "parameters": effective_parameters(fitted),
        "importances": feature_importances(model, fitted, holdout),
        "not_compiled": not_compiled,
    }
    write_json(out / "training.json", report)


def _compile(job: TrainJob, fitted: Any, holdout: pd.DataFrame, out: Path) -> str:
    """Write ``model.onnx`` and add its predictions to the holdout as ``compiled``; returns why not, or nothing."""
    tolerance = job["compile_tolerance"]
    if tolerance is None:
        return "training.compile in model.yaml is off"
    size = (out / "model.skops").stat().st_size
    if size > COMPILED_BYTES:
        return f"model.skops has {size >> 20} MiB, more than the {COMPILED_BYTES >> 20} up to which models are compiled"
    expected = holdout["prediction"].to_numpy()
    try:
        content, holdout["compiled"] = compile_model(fitted, job["model"], holdout, expected, tolerance)
    except NotCompiledError as reason:
        print(f"not compiled to ONNX, so the estimator itself will serve: {reason}", flush=True)
        return str(reason)
    (out / "model.onnx").write_bytes(content)
    print(f"compiled to ONNX ({len(content)} bytes)", flush=True)
    return ""


def target(rows: pd.DataFrame, model: Model) -> np.ndarray:
    """The target's values: 0 and 1, or finite numbers."""
    values: np.ndarray = feature_frame(rows, [{"name": model["target"], "type": "number"}])[model["target"]].to_numpy()
    if not np.isfinite(values).all():
        raise ModelError(f"target '{model['target']}' has missing or infinite values. Leave such rows out of the data.")
    if model["task"] == "binary_classification":
        classes = sorted(set(values.tolist()))
        if classes != [0.0, 1.0]:
            raise ModelError(
                f"target '{model['target']}' has the values {classes[:5]}; it must have both 0 and 1, and nothing else."
            )
        return values.astype(int)
    return values


def effective_parameters(fitted: Any) -> dict[str, str]:
    """What the fitted estimator's ``get_params`` says, defaults included, as text; those of the outer steps first.

    Only short numbers, texts, booleans and None: the values come from the model's code. An estimator that can't say
    its parameters has none.
    """
    try:
        values = dict(fitted.get_params(deep=True))
    except (Exception, SystemExit) as error:
        print(f"the estimator's parameters are not recorded: get_params failed ({type(error).__name__})", flush=True)
        return {}
    texts = {name: _text(value) for name, value in values.items() if type(name) is str and len(name) <= NAME_LENGTH}
    short = {name: text for name, text in texts.items() if text is not None and len(text) <= VALUE_LENGTH}
    return {name: short[name] for name in sorted(short, key=lambda name: (name.count("__"), name))[:PARAMETERS]}


def _text(value: Any) -> str | None:
    """A value as text; None if it is not a single one."""
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) is int and abs(value) >= 10**VALUE_LENGTH:
        return None
    return str(value) if type(value) in (bool, int, float, str, type(None)) else None


def prediction_edges(predicted: np.ndarray, task: str) -> list[float]:
    """Bucket bounds of the prediction histogram: evenly spaced for probabilities, else quantiles of the holdout."""
    if task == "binary_classification":
        return [round(edge, 4) for edge in np.linspace(0, 1, EDGES + 1)[1:]]
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, EDGES + 1)))
    return [float(edge) for edge in edges]


if __name__ == "__main__":
    run(main)
