"""From raw columns to the frame that an estimator sees: one way for training, scoring and serving alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from .jobs import Mistake


def feature_frame(columns: Mapping[str, Any] | pd.DataFrame, features: Iterable[Mapping[str, str]]) -> pd.DataFrame:
    """The typed features: numbers and booleans as float64 (missing: NaN), categories as object (missing: None).

    ``columns`` maps names to sequences of equal length. Raises Mistake when a column is missing or not of its type.
    """
    typed = {}
    for feature in features:
        name, kind = feature["name"], feature["type"]
        if name not in columns:
            raise Mistake(f"column '{name}' is missing from the data. Add it, or remove the feature from model.yaml.")
        typed[name] = _category(columns[name]) if kind == "category" else _number(name, columns[name])
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
    lacking = set(columns) - set(pq.read_schema(path).names)
    if lacking:
        raise Mistake(
            f"column(s) {', '.join(sorted(lacking))} are missing from the data ({path}). Add them to the query, or "
            "take them out of model.yaml."
        )
    return pd.read_parquet(path, columns=columns)


def _number(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(pd.to_numeric(pd.Series(values)), dtype=float)
    except (ValueError, TypeError) as error:
        raise Mistake(
            f"column '{name}' is not numeric ({error}). Correct the data, or the type in model.yaml."
        ) from None


def _category(values: Any) -> pd.Series:
    found = pd.Series(values, dtype=object)
    labels = [None if gone else _label(value) for value, gone in zip(found, found.isna(), strict=True)]
    return pd.Series(labels, dtype=object)


def _label(value: Any) -> str:
    """The category as text; whole numbers that a column with gaps has turned into floats are whole again."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
