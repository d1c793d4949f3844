"""The one rule that converts a value of a category or boolean feature to text or a truth value.

The same category comes in many forms: ``3`` from Parquet, ``3.0`` from a column of integers with gaps, ``Decimal(3)``
from SQL, ``"3"`` from a request. They are the same category, so they get the same text. :mod:`include.runtime.frames`
implements the same rule in the model's own environment, where it can't import this module; both are tested with the
cases in ``tests/support/category_cases.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from include.core.spec import FeatureType

LARGEST_EXACT = 2**53
"""From here on, floats no longer represent every integer exactly, so they are formatted as floats."""
BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def category_text(value: Any) -> str | None:
    """The text of one category; None for a missing value (None, NaN, NaT, ``pd.NA``).

    Integers have neither point nor exponent, whatever their type; booleans are ``true`` and ``false``.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        whole = float(value).is_integer() and -LARGEST_EXACT < float(value) < LARGEST_EXACT
        return str(int(value)) if whole else str(value)
    if isinstance(value, Decimal) and value.is_finite():
        return str(int(value)) if value == value.to_integral_value() else f"{value.normalize():f}"
    return str(value)


def boolean_value(value: Any) -> bool | None:
    """The truth value of true, false, 1 and 0, as numbers or as text in any case; None for a missing value.

    Raises ValueError for anything else.
    """
    text = category_text(value)
    if text is None:
        return None
    number = text.lower().removesuffix(".0")
    if number not in BOOLEANS:
        raise ValueError(f"{value!r} is not a boolean (true, false, 1 or 0)")
    return BOOLEANS[number]


def category_texts(values: pd.Series, kind: FeatureType) -> pd.Series:
    """A column as text by this rule: None for missing values, same index, dtype object.

    Booleans are ``true`` and ``false``; an invalid value in a boolean column becomes None.
    """
    column = values.astype("object")
    column = column.where(values.notna(), None)
    if kind != "boolean" and pd.api.types.infer_dtype(column, skipna=True) == "string":
        return column  # fast path: by far the most frequent case, and the largest columns
    return (
        column.map(_boolean_text if kind == "boolean" else category_text).astype("object").where(values.notna(), None)
    )


def _boolean_text(value: Any) -> str | None:
    try:
        truth = boolean_value(value)
    except ValueError:
        return None
    return None if truth is None else category_text(truth)


def with_boolean_texts(values: Mapping[str, int]) -> dict[str, int]:
    """The values with each key that names a boolean in its one form; version 0.1.0 wrote ``True``, ``1`` and others."""
    return {_boolean_text(text) or text: value for text, value in values.items()}
