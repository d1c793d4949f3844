"""Columns of data, in the types that the spec names: whatever a file or a database calls them, or a clear error.

Types are never guessed. A category ``00501`` stays text although it looks like a number, and a key of 19 digits stays
exact although a missing key beside it would make the column floats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd

from include.core.categories import LARGEST_EXACT, boolean_value, category_text
from include.core.errors import DataError
from include.core.spec import FeatureType, ModelSpec

ColumnKind = FeatureType | Literal["key", "time", "target"]
"""What a column is read as. Keys become text, times naive UTC; a target is a number or a boolean."""
Kinds = Mapping[str, ColumnKind]
SHOWN = 3
"""Examples in a message."""


def kinds_of(spec: ModelSpec) -> dict[str, ColumnKind]:
    """The columns of training data: key, event time, features and target."""
    features: dict[str, ColumnKind] = {feature.name: feature.type for feature in spec.features}
    return {spec.data.key: "key", spec.data.event_time: "time", **features, spec.target: "target"}


def typed_columns(frame: pd.DataFrame, kinds: Kinds, place: str, *, text: bool) -> pd.DataFrame:
    """The columns that ``kinds`` names, each as its kind; same number of rows, index from 0.

    ``place`` names the data in errors. With ``text``, the source has no types (CSV), so that numbers are parsed;
    otherwise text is not a number. Raises DataError with column, value and remedy.
    """
    twice = sorted(set(frame.columns[frame.columns.duplicated()]) & set(kinds))
    if twice:
        raise DataError(f"{place} has more than one column '{twice[0]}'. Rename or drop all but one.")
    return pd.DataFrame(
        {name: _READ[kind](_Column(name, place, text, frame[name])) for name, kind in kinds.items()}
    ).reset_index(drop=True)


class _Column:
    """One column as it was read."""

    def __init__(self, name: str, place: str, text: bool, values: pd.Series):
        self.name, self.place, self.text = name, place, text
        self.values = values.astype("object") if isinstance(values.dtype, pd.CategoricalDtype) else values
        self.present = self.values[self.values.notna()]

    def error(self, problem: str, remedy: str) -> DataError:
        return DataError(f"{self.place}: column '{self.name}' {problem}. {remedy}")

    def refuse(self, wrong: pd.Series, problem: str, remedy: str) -> None:
        """Raise an error with examples if any present value is wrong (mask over ``present``)."""
        if wrong.any():
            shown = ", ".join(repr(_plain(value)) for value in self.present[wrong].drop_duplicates().head(SHOWN))
            raise self.error(f"has {int(wrong.sum())} {problem}, such as {shown}", remedy)

    def refuse_types(self, refused: tuple[type, ...], kind: str, remedy: str) -> None:
        """Raise an error if any present value is of one of these Python types."""
        if self.values.dtype == object:
            wrong = self.present.map(lambda value: isinstance(value, refused))
            self.refuse(wrong.astype(bool), f"values that are not {kind}", remedy)


def _text(column: _Column) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(column.values.dtype) or column.values.dtype.kind == "m":
        raise column.error(f"is of type {column.values.dtype}, not a category", "Write it as text.")
    column.refuse_types((list, dict, tuple, set, np.ndarray), "single values", "Flatten it into columns of their own.")
    return _as_text(column.values, category_text)


def _key(column: _Column) -> pd.Series:
    column.refuse_types((list, dict, tuple, set, np.ndarray), "single values", "Use a column of text or integers.")
    numbers = column.present[column.present.map(lambda value: isinstance(value, float | np.floating)).astype(bool)]
    inexact = numbers.map(lambda value: not float(value).is_integer() or abs(value) >= LARGEST_EXACT)
    if len(numbers) and inexact.any():
        raise column.error(
            f"is a key with inexact numbers, such as {float(numbers[inexact].iloc[0])!r}",
            "Write keys as text or as integers: floats no longer tell whole numbers of 16 digits and more apart.",
        )
    return _as_text(column.values, category_text)


def _as_text(values: pd.Series, text_of: Callable[[Any], str | None]) -> pd.Series:
    if pd.api.types.infer_dtype(values, skipna=True) == "string":
        return values.astype("str")
    return values.astype("object").map(text_of, na_action="ignore").astype("str")


def _number(column: _Column) -> pd.Series:
    values = column.values
    if pd.api.types.is_bool_dtype(values.dtype) or (len(column.present) and _all_booleans(column.present)):
        raise column.error("is boolean, not a number", "Give it the type boolean in model.yaml.")
    return _numbers(column)


def _integer(column: _Column) -> pd.Series:
    numbers = _number(column)
    finite = numbers[np.isfinite(numbers)]
    fractions = finite[finite != np.floor(finite)]
    if len(fractions):
        raise column.error(
            f"has {len(fractions)} values that are not integers, such as {float(fractions.iloc[0])!r}",
            "Correct the data, or give it the type number in model.yaml.",
        )
    return numbers


def _target(column: _Column) -> pd.Series:
    """Numbers; true and false, also as text, are 1 and 0."""
    lowered = column.present.map(lambda value: str(value).lower())
    if len(column.present) and lowered.isin(["true", "false"]).all():
        return column.values.map(boolean_value, na_action="ignore").astype("float64")
    return _numbers(column)


def _numbers(column: _Column) -> pd.Series:
    values, kind = column.values, column.values.dtype.kind
    remedy = "Correct the data, or give it the type category in model.yaml."
    if pd.api.types.is_datetime64_any_dtype(values.dtype) or kind == "m":
        raise column.error(f"is of type {values.dtype}, not a number", remedy)
    if kind in "iuf" and not pd.api.types.is_extension_array_dtype(values.dtype):
        return values.reset_index(drop=True)
    if not column.text:
        wrong = column.present.map(lambda value: not isinstance(value, int | float | Decimal | np.number))
        column.refuse(wrong.astype(bool), "values that are not numbers", remedy)
    numbers = pd.to_numeric(values.map(_float_of_decimal, na_action="ignore"), errors="coerce").astype("float64")
    column.refuse(
        numbers[values.notna()].isna() & ~column.present.map(_is_nan).astype(bool),
        "values that are not numbers",
        remedy + " Decimal places follow a point; what stands for a missing value is listed in source.na_values.",
    )
    return numbers


def _boolean(column: _Column) -> pd.Series:
    def wrong(value: Any) -> bool:
        try:
            boolean_value(value)
        except ValueError:
            return True
        return False

    distinct = {value: wrong(value) for value in _distinct(column)}
    column.refuse(
        column.present.map(lambda value: distinct[value]).astype(bool),
        "values that are not booleans (true, false, 1 or 0)",
        "Correct the data, or give it the type category in model.yaml.",
    )
    return column.values.astype("object").map(boolean_value, na_action="ignore").astype("boolean")


def _distinct(column: _Column) -> list[Any]:
    column.refuse_types((list, dict, set, np.ndarray), "booleans", "Flatten it into columns of their own.")
    return list(column.present.unique())


def _time(column: _Column) -> pd.Series:
    remedy = "Write times like 2013-05-17T08:30:00 (UTC, or with an offset), or as timestamps of Parquet or SQL."
    values = column.values
    if values.dtype.kind in "iufb" or (
        values.dtype == object
        and column.present.map(lambda value: isinstance(value, bool | int | float | Decimal)).any()
    ):
        raise column.error("has numbers for times", remedy)
    column.refuse_types((list, dict, tuple, set, np.ndarray), "times", remedy)
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        times: pd.Series = values
    else:
        times = pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
        column.refuse(times[values.notna()].isna(), "values that are not times", remedy)
    if times.dt.tz is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    typed: pd.Series = times.dt.as_unit("us")
    return typed


def _float_of_decimal(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _is_nan(value: Any) -> bool:
    return str(value).strip().lower() in ("nan", "-nan", "+nan")


def _all_booleans(present: pd.Series) -> bool:
    return present.dtype == object and bool(present.map(lambda value: isinstance(value, bool | np.bool_)).all())


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


_READ: dict[ColumnKind, Callable[[_Column], pd.Series]] = {
    "category": _text,
    "key": _key,
    "number": _number,
    "integer": _integer,
    "target": _target,
    "boolean": _boolean,
    "time": _time,
}
