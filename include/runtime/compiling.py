"""Compiles a fitted estimator to ONNX, and compares the two: what differs anywhere is served as it was fitted.

skl2onnx knows scikit-learn's own estimators, and those of :mod:`.boosting`. What it does not know, such as a
transformer of the model's own or trees that split by sets of categories, can't be compiled, and the reason is in the
training's report.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from .boosting import register_converters
from .config import Feature, Model
from .frames import feature_frame, typed_columns
from .model_code import predict
from .predictions import require_finite

OPERATORS = {"": 18, "ai.onnx.ml": 3}
"""The operator sets that are used; each ONNX Runtime since 1.15 (2023) has them."""
PROBED = 5
"""How many rows of the holdout are changed into rows that it may not have: missing and unseen values."""
UNSEEN = "\ue000unseen"
REASON_LENGTH = 300


class NotCompiledError(Exception):
    """The model can't be compiled, or the compiled model differs; the message says why."""


def compile_model(
    fitted: Any, model: Model, holdout: pd.DataFrame, expected: np.ndarray, tolerance: float
) -> tuple[bytes, np.ndarray]:
    """The content of ``model.onnx``, and its predictions for the holdout; ``expected`` are the estimator's.

    Raises NotCompiledError, also if predictions differ by more than ``tolerance`` (in proportion if large); the
    platform compares those for the holdout again.
    """
    if model["feature_code"]:
        raise NotCompiledError(f"its features are computed by code of the model ({model['feature_code']})")
    try:
        import onnxruntime  # noqa: F401
        import skl2onnx  # noqa: F401

        register_converters()
    except ImportError as error:
        raise NotCompiledError(
            f"the build's environment has no {error.name}: the model's requirements conflict with the compiler's "
            "(skl2onnx, onnxmltools, onnx, protobuf 5)"
        ) from None
    from .compiled import CompiledModel

    columns, reason = typed_columns(holdout, model["features"]), ""
    for content in _conversions(fitted, model):
        try:
            compiled = CompiledModel(content, model)
            predicted = require_finite(compiled.predict(columns))
            _require_same(predicted, expected, tolerance, "on the holdout")
            _require_same_on_odd_rows(compiled, fitted, model, holdout, tolerance)
        except Exception as error:  # a conversion can be wrong in any way
            reason = _reason(error)
        else:
            return content, predicted
    raise NotCompiledError(reason)


def _conversions(fitted: Any, model: Model) -> Iterator[bytes]:
    """The estimator in ONNX: with an input for each feature, as a ColumnTransformer takes them, or with one for all."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    from .compiled import CATEGORY, TOGETHER

    features = model["features"]
    apart = [
        (each["name"], (StringTensorType if each["type"] == CATEGORY else FloatTensorType)([None, 1]))
        for each in features
    ]
    ways = [apart]
    if all(each["type"] != CATEGORY for each in features):
        ways.append([(TOGETHER, FloatTensorType([None, len(features)]))])
    errors: list[Exception] = []
    for inputs in ways:
        try:
            readable = _with_text_for_missing(copy.deepcopy(fitted))
            options = {id(readable): {"zipmap": False}} if model["task"] == "binary_classification" else None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = to_onnx(readable, initial_types=inputs, target_opset=OPERATORS, options=options)
            yield made.SerializeToString()
        except Exception as error:  # skl2onnx lets any exception through
            errors.append(error)
    if len(errors) == len(ways):
        raise NotCompiledError(_reason(errors[0]))


def _with_text_for_missing(part: Any) -> Any:
    """The estimator or a part of it; where its encoders know None as a category, they know MISSING instead."""
    from .compiled import MISSING

    if isinstance(part, list | tuple) and type(part) in (list, tuple):
        return type(part)(_with_text_for_missing(each) for each in part)
    if not isinstance(part, BaseEstimator):
        return part
    if isinstance(part, OneHotEncoder | OrdinalEncoder | TargetEncoder):
        if hasattr(part, "categories_"):
            part.categories_ = [
                np.array([MISSING if each is None else each for each in known], dtype=object)
                if known.dtype == object
                else known
                for known in part.categories_
            ]
        return part
    for name, value in vars(part).items():
        setattr(part, name, _with_text_for_missing(value))
    return part


def _require_same(actual: np.ndarray, expected: np.ndarray, tolerance: float, where: str) -> None:
    difference = float((np.abs(actual - expected) / np.maximum(1.0, np.abs(expected))).max())
    if not difference <= tolerance:
        raise NotCompiledError(
            f"it predicts differently {where}: by up to {difference:.3g}, more than training.compile_tolerance "
            f"({tolerance:g})"
        )


def _require_same_on_odd_rows(
    compiled: Any, fitted: Any, model: Model, holdout: pd.DataFrame, tolerance: float
) -> None:
    """Raise NotCompiledError unless both predict the same for values that are missing, or categories never seen.

    The holdout may have none. An estimator that refuses such rows must be refused by its compiled form too: otherwise
    clients would get predictions where the model's author wanted an error.
    """
    for what, rows in _odd_rows(holdout.head(PROBED), model["features"]):
        columns = typed_columns(rows, model["features"])
        expected = _values(predict, model, fitted, feature_frame(columns, model["features"]))
        actual = _values(compiled.predict, columns)
        if (expected is None) != (actual is None):
            does, does_not = ("compiled model", "estimator") if expected is None else ("estimator", "compiled model")
            raise NotCompiledError(f"with {what}, the {does} predicts and the {does_not} does not")
        if expected is not None and actual is not None:
            _require_same(actual, expected, tolerance, f"with {what}")


def _odd_rows(rows: pd.DataFrame, features: list[Feature]) -> Iterator[tuple[str, pd.DataFrame]]:
    names = [each["name"] for each in features]
    rows = rows[names].astype(object)
    for name in names:
        yield f"a missing value of {name}", rows.assign(**{name: None})
    yield "only missing values", rows.assign(**dict.fromkeys(names))
    for each in features:
        if each["type"] == "category":
            yield f"a category of {each['name']} that training did not have", rows.assign(**{each["name"]: UNSEEN})


def _values(predictions: Callable[..., np.ndarray], *arguments: Any) -> np.ndarray | None:
    """The predictions; None if there are none, or some are not finite."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return require_finite(predictions(*arguments))
    except (Exception, SystemExit):  # whatever the model's code raises
        return None


def _reason(error: Exception) -> str:
    """The first line of an error, in a sentence's length."""
    text = " ".join((str(error).strip().splitlines() or [type(error).__name__])[0].split())
    return text[:REASON_LENGTH].rstrip(". ")
