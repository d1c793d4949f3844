"""Raw columns to the data frame that an estimator gets: the same code for training, scoring and serving."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from .categories import label, truth
from .config import Feature
from .jobs import ModelError

Columns = Mapping[str, Sequence[Any] | np.ndarray] | pd.DataFrame
"""Column name → its values; all columns have the same length."""


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


def typed_columns(columns: Columns, features: Iterable[Feature]) -> dict[str, np.ndarray]:
    """The typed features as arrays, as a compiled model takes them; see :func:`feature_frame`."""
    frame = feature_frame(columns, features)
    return {str(name): frame[name].to_numpy() for name in frame}


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


def _category(values: Any) -> pd.Series:
    column = pd.Series(values, dtype=object)
    column = column.where(column.notna(), None)
    if pd.api.types.infer_dtype(column, skipna=True) == "string":
        return column
    return pd.Series([None if value is None else label(value) for value in column], dtype=object)
