"""Raw columns to the data frame that an estimator gets: the same code for training, scoring and serving."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from .config import Feature
from .jobs import ModelError

LARGEST_EXACT = 2**53
"""From here on, floats no longer represent every integer exactly, so they are formatted as floats."""
Columns = Mapping[str, Sequence[object]] | pd.DataFrame
"""Column name → its values; all columns have the same length."""
BOOLEANS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


def feature_frame(columns: Columns, features: Iterable[Feature]) -> pd.DataFrame:
    """The typed features: numbers and booleans as float64 (missing: NaN), categories as object (missing: None).

    Raises ModelError when a column is missing or not of its type.
    """
    typed: dict[str, np.ndarray | pd.Series] = {}
    for feature in features:
        name, kind = feature["name"], feature["type"]
        if name not in columns:
            raise ModelError(
                f"column '{name}' is missing from the data. Add it, or remove the feature from model.yaml."
            )
        if kind == "category":
            typed[name] = _category(columns[name])
        else:
            typed[name] = (_boolean if kind == "boolean" else _number)(name, columns[name])
    return pd.DataFrame(typed)


def read_rows(paths: Iterable[str], columns: Iterable[str]) -> pd.DataFrame:
    """The named columns of Parquet files, one after the other."""
    wanted = list(dict.fromkeys(columns))
    return pd.concat([_read(path, wanted) for path in paths], ignore_index=True)


def between(frame: pd.DataFrame, column: str, start: str | None, end: str | None) -> pd.DataFrame:
    """Rows with ``start`` <= column < ``end``; a bound that is None is open."""
    times = pd.to_datetime(frame[column])
    keep = np.ones(len(frame), dtype=bool)
    if start is not None:
        keep &= (times >= pd.Timestamp(start)).to_numpy()
    if end is not None:
        keep &= (times < pd.Timestamp(end)).to_numpy()
    return frame[keep].reset_index(drop=True)


def _read(path: str, columns: list[str]) -> pd.DataFrame:
    missing = set(columns) - set(pq.read_schema(path).names)
    if missing:
        raise ModelError(
            f"columns missing from the data: {', '.join(sorted(missing))} ({path}). Add them to the query, or "
            "remove them from model.yaml."
        )
    return pd.read_parquet(path, columns=columns)


def _number(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(pd.to_numeric(pd.Series(values)), dtype=float)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"column '{name}' is not numeric ({error}). Correct the data, or the type in model.yaml."
        ) from None


def _boolean(name: str, values: Any) -> np.ndarray:
    column = pd.Series(values, dtype=object)
    try:
        return np.array([truth(text) for text in _category(column)], dtype=float)
    except ValueError as error:
        raise ModelError(f"column '{name}' has {error}. Correct the data, or the type in model.yaml.") from None


def truth(text: str | None) -> float:
    """1.0 or 0.0 for the text of a boolean, NaN for None; ValueError for anything else."""
    if text is None:
        return np.nan
    number = text.lower().removesuffix(".0")
    if number not in BOOLEANS:
        raise ValueError(f"'{text}', which is not a boolean (true, false, 1 or 0)")
    return BOOLEANS[number]


def _category(values: Any) -> pd.Series:
    column = pd.Series(values, dtype=object)
    column = column.where(column.notna(), None)
    if pd.api.types.infer_dtype(column, skipna=True) == "string":
        return column
    return pd.Series([None if value is None else label(value) for value in column], dtype=object)


def label(value: Any) -> str:
    """A category as text, by the platform's rule (include/core/categories.py); both run the same test cases."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        whole = float(value).is_integer() and -LARGEST_EXACT < float(value) < LARGEST_EXACT
        return str(int(value)) if whole else str(value)
    if isinstance(value, Decimal) and value.is_finite():
        return str(int(value)) if value == value.to_integral_value() else f"{value.normalize():f}"
    return str(value)
