"""The model's own code: how its estimator function and its feature function, if any, are imported and called."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pandas as pd

from .config import Model
from .frames import Columns, feature_frame
from .jobs import ModelError


def make_estimator(model: Model) -> Any:
    """The unfitted estimator that ``model['estimator']`` returns for the model's parameters."""
    made = call(function(model, "estimator"), model["estimator"], **model["parameters"])
    if not hasattr(made, "fit"):
        raise _lacks(model, made, "fit")
    return made


def estimator_parameters(model: Model) -> dict[str, Any] | None:
    """Names of the estimator function's parameters, and whether it takes ``any`` other; None if Python can't say.

    Of a decorated function, these are the decorator's, which may take more than the function inside.
    """
    try:
        found = inspect.signature(function(model, "estimator"), follow_wrapped=False).parameters.values()
    except Exception:  # no signature, as of some functions written in C; or the model's own code failed
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in found)
    return {"names": [each.name for each in found if each.kind in named], "any": takes_any}


def fit(model: Model, estimator: Any, features: Any, truth: Any) -> Any:
    """The fitted estimator. Only then is it known whether it predicts: some have ``predict_proba`` only once fitted."""
    fitted = call(estimator.fit, "fit", features, truth)
    needed = "predict_proba" if model["task"] == "binary_classification" else "predict"
    if not hasattr(fitted, needed):
        raise _lacks(model, fitted, needed)
    return fitted


def _lacks(model: Model, estimator: Any, method: str) -> ModelError:
    return ModelError(
        f"{model['estimator']} returned {type(estimator).__name__}, which has no {method}. "
        f"Return an unfitted estimator with scikit-learn's API for {model['task']}."
    )


def prepare(model: Model, columns: Columns) -> pd.DataFrame:
    """Typed features, passed through the model's feature code if there is any."""
    frame = feature_frame(columns, model["features"])
    feature_code = model["feature_code"]
    if not feature_code:
        return frame
    prepared: pd.DataFrame = call(function(model, "feature_code"), feature_code, frame)
    if not hasattr(prepared, "__len__"):
        raise ModelError(f"{feature_code} returned {type(prepared).__name__}. Return a data frame of features.")
    if len(prepared) != len(frame):
        raise ModelError(
            f"{feature_code} returned {len(prepared)} rows for {len(frame)}. Return one row per input row."
        )
    return prepared


def predict(model: Model, fitted: Any, frame: Any) -> np.ndarray:
    """Predictions as float64, one per row: the probability of the positive class, or the value itself."""
    if model["task"] == "binary_classification":
        predicted = np.asarray(fitted.predict_proba(frame), dtype=float)
        if predicted.shape != (len(frame), 2):
            raise ModelError(f"predict_proba returned shape {predicted.shape} for {len(frame)} rows and two classes.")
        return predicted[:, 1]
    predicted = np.asarray(fitted.predict(frame), dtype=float)
    if predicted.shape != (len(frame),):
        raise ModelError(f"predict returned shape {predicted.shape}, expected ({len(frame)},).")
    return predicted


def same_predictions(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two predictions of the same rows are equal, except for their last digits.

    BLAS may add up in another order when an array lies elsewhere in memory, so equal inputs may differ by a rounding.
    """
    return bool(np.allclose(first, second, rtol=1e-6, atol=1e-9 * np.abs(second).max(initial=0)))


def make_importable(model: Model) -> None:
    """Append the model's folder to ``sys.path``, after the libraries.

    In front of them, a model's module with the name of a library would replace that library in some processes (those
    that import it later) but not in others, so that a trained model could not be loaded.
    """
    if not Path(model["code"]).is_dir():
        raise ModelError(f"the model's folder {model['code']} does not exist. Run its ci again.")
    if model["code"] not in sys.path:
        sys.path.append(model["code"])


def hidden_modules(model: Model) -> list[str]:
    """Files and packages of the model's folder that can't be imported, because another module has the same name."""
    folder = Path(model["code"])
    names = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/*.py")}
    return sorted(
        f"'{name}' ({getattr(module, '__file__', None) or 'built into Python'})"
        for name in names - {"__main__"}
        if (module := sys.modules.get(name)) and not _is_inside(folder, module)
    )


def _is_inside(folder: Path, module: ModuleType) -> bool:
    paths = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    return any(Path(path).is_relative_to(folder) for path in paths if path)


def function(model: Model, field: Literal["estimator", "feature_code"]) -> Callable[..., Any]:
    """The function that the spec names as ``module:function``, imported from the model's folder."""
    entrypoint = model[field] or ""
    module_name, _, name = entrypoint.partition(":")
    make_importable(model)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{field} '{entrypoint}': module '{error.name}' was not found. Add the file to the repository, or the "
            f"library to its requirements.{rename_hint(model)}"
        ) from None
    except Exception as error:
        raise ModelError(
            f"{field} '{entrypoint}': importing '{module_name}' failed: {last_lines(error)}{rename_hint(model)}"
        ) from None
    code: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(code):
        raise ModelError(
            f"{field} '{entrypoint}': module '{module_name}' has no function '{name}'. Add it, or rename it."
            f"{rename_hint(model)}"
        )
    return code


def rename_hint(model: Model) -> str:
    """A sentence to append that says what to rename in the model's folder; empty if nothing."""
    hidden = hidden_modules(model)
    return f" Rename these, because other modules have the same names: {', '.join(hidden)}." if hidden else ""


def call(what: Callable[..., Any], name: str, *arguments: Any, **named: Any) -> Any:
    """Call the model's code; any exception becomes a ModelError with the end of its traceback."""
    try:
        return what(*arguments, **named)
    except (Exception, SystemExit) as error:
        raise ModelError(f"{name} failed: {last_lines(error)}") from None


def last_lines(error: BaseException, lines: int = 8) -> str:
    """The end of a traceback, where the user's own code is."""
    text = "".join(traceback.format_exception(error)).strip().splitlines()
    return "\n".join(text[-lines:])
