"""The model's own code: its estimator function, its feature function if it has one, and how it is found."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from .frames import feature_frame
from .jobs import ModelError

Model = Mapping[str, Any]


def make_estimator(model: Model) -> Any:
    """The unfitted estimator that ``model['estimator']`` returns for the model's parameters."""
    made = call(function(model, "estimator"), model["estimator"], **model["parameters"])
    needed = ["fit", "predict_proba" if model["task"] == "binary_classification" else "predict"]
    lacking = [name for name in needed if not hasattr(made, name)]
    if lacking:
        raise ModelError(
            f"{model['estimator']} returned {type(made).__name__}, which has no {' and no '.join(lacking)}. "
            f"Return an unfitted estimator with scikit-learn's API for {model['task']}."
        )
    return made


def prepare(model: Model, columns: Mapping[str, Any] | pd.DataFrame) -> pd.DataFrame:
    """Typed features, led through the model's feature code if there is any."""
    frame = feature_frame(columns, model["features"])
    if not model.get("feature_code"):
        return frame
    prepared: pd.DataFrame = call(function(model, "feature_code"), model["feature_code"], frame)
    if not hasattr(prepared, "__len__"):
        raise ModelError(f"{model['feature_code']} returned {type(prepared).__name__}. Return the frame of features.")
    if len(prepared) != len(frame):
        raise ModelError(
            f"{model['feature_code']} returned {len(prepared)} rows for {len(frame)}. Return one for each."
        )
    return prepared


def predict(model: Model, fitted: Any, frame: Any) -> np.ndarray:
    """Predictions as float64, one for each row: the probability of the target being true, or the value itself."""
    if model["task"] == "binary_classification":
        predicted = np.asarray(fitted.predict_proba(frame), dtype=float)
        if predicted.shape != (len(frame), 2):
            raise ModelError(f"predict_proba returned shape {predicted.shape} for {len(frame)} rows and two classes.")
        return predicted[:, 1]
    predicted = np.asarray(fitted.predict(frame), dtype=float)
    if predicted.shape != (len(frame),):
        raise ModelError(f"predict returned shape {predicted.shape}, expected ({len(frame)},).")
    return predicted


def require_finite(predicted: np.ndarray) -> np.ndarray:
    """The predictions; ModelError when any is NaN or infinite."""
    bad = int((~np.isfinite(predicted)).sum())
    if bad:
        raise ModelError(
            f"{bad} of {len(predicted)} predictions are not finite. Let the estimator handle missing values."
        )
    return predicted


def make_importable(model: Model) -> None:
    """Put the model's folder on the path, behind the libraries.

    In front of them, a module of the model's that has a library's name would be that library for some processes (those
    that import it later) and not for others, so that what was trained could not be loaded.
    """
    if not Path(model["code"]).is_dir():
        raise ModelError(f"the model's folder {model['code']} does not exist. Run its ci again.")
    if model["code"] not in sys.path:
        sys.path.append(model["code"])


def hidden_modules(model: Model) -> list[str]:
    """Files and packages of the model's folder that can't be imported, since another module has their name."""
    folder = Path(model["code"])
    names = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/*.py")}
    return sorted(
        f"'{name}' ({getattr(module, '__file__', None) or 'built into Python'})"
        for name in names - {"__main__"}
        if (module := sys.modules.get(name)) and not _lies_in(folder, module)
    )


def _lies_in(folder: Path, module: ModuleType) -> bool:
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    return any(Path(place).is_relative_to(folder) for place in places if place)


def function(model: Model, field: str) -> Callable[..., Any]:
    """The function that ``module:function`` names, from the model's folder."""
    module_name, _, name = model[field].partition(":")
    make_importable(model)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{field} '{model[field]}': module '{error.name}' was not found. Add the file to the repository, or the "
            f"library to its requirements.{rename_hint(model)}"
        ) from None
    except Exception as error:
        raise ModelError(
            f"{field} '{model[field]}': importing '{module_name}' failed: {last_lines(error)}{rename_hint(model)}"
        ) from None
    code: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(code):
        raise ModelError(
            f"{field} '{model[field]}': module '{module_name}' has no function '{name}'. Add it, or rename it."
            f"{rename_hint(model)}"
        )
    return code


def rename_hint(model: Model) -> str:
    """What to rename in the model's folder, as a sentence to append; empty if nothing."""
    hidden = hidden_modules(model)
    return f" Rename what has the name of another module: {', '.join(hidden)}." if hidden else ""


def call(what: Callable[..., Any], name: str, *arguments: Any, **named: Any) -> Any:
    """Call the model's code; what it raises becomes a ModelError with the end of its traceback."""
    try:
        return what(*arguments, **named)
    except (Exception, SystemExit) as error:
        raise ModelError(f"{name} failed: {last_lines(error)}") from None


def last_lines(error: BaseException, lines: int = 8) -> str:
    """The end of a traceback, which is where the user's own code is."""
    text = "".join(traceback.format_exception(error)).strip().splitlines()
    return "\n".join(text[-lines:])
