"""A column is what the spec says it is, or an error names column, value and remedy."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.core.errors import DataError
from include.core.typed_columns import ColumnKind, typed_columns

T = pd.Timestamp
UTC_PLUS_2 = dt.timezone(dt.timedelta(hours=2))
NOON = dt.datetime(2013, 5, 17, 12)


def read(values: Any, kind: ColumnKind, *, text: bool = False) -> list[Any]:
    """The column's values; None for missing ones."""
    frame = pd.DataFrame({"c": values if isinstance(values, pd.Series) else pd.Series(values)})
    typed = typed_columns(frame, {"c": kind}, "partition x", text=text)["c"]
    return [None if pd.isna(value) else value for value in typed]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("category", ["00501", "NA", "", None], ["00501", "NA", "", None]),
        ("category", [3, 4], ["3", "4"]),
        ("category", [3.0, None], ["3", None]),
        ("category", [Decimal(3), None], ["3", None]),
        ("category", pd.Series([True, None], dtype=object), ["true", None]),
        ("category", pd.Series(["a", "b", None], dtype="category"), ["a", "b", None]),
        ("category", [b"north"], ["north"]),
        ("key", pd.Series([1234567890123456789, None], dtype=object), ["1234567890123456789", None]),
        ("key", pd.Series([1234567890123456789, None], dtype="Int64"), ["1234567890123456789", None]),
        ("key", [Decimal(1234567890123456789)], ["1234567890123456789"]),
        ("key", [1.0, None], ["1", None]),
        ("key", ["007"], ["007"]),
        ("number", [Decimal("1.5"), None], [1.5, None]),
        ("number", pd.Series([1, None], dtype="Int64"), [1.0, None]),
        ("number", pd.Series([1, 2, None], dtype="category"), [1.0, 2.0, None]),
        ("number", pd.Series([1, None], dtype=object), [1.0, None]),
        ("integer", [1.0, None], [1.0, None]),
        ("boolean", pd.Series([True, None], dtype=object), [True, None]),
        ("boolean", [1.0, 0.0, None], [True, False, None]),
        ("boolean", ["true", "False", None], [True, False, None]),
        ("target", pd.Series([True, False, None], dtype=object), [1.0, 0.0, None]),
        ("time", [NOON.replace(tzinfo=UTC_PLUS_2), NOON.replace(tzinfo=dt.UTC)], [T(2013, 5, 17, 10), T(NOON)]),
        ("time", [dt.date(2013, 5, 17), None], [T("2013-05-17"), None]),
        ("time", [None, None], [None, None]),
    ],
)  # fmt: skip
def test_values_of_a_typed_source_are_read(kind: ColumnKind, values: Any, expected: list[Any]) -> None:
    assert read(values, kind) == expected


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("category", ["00501", "1e5", "true", None], ["00501", "1e5", "true", None]),
        ("key", ["00501", "1234567890123456789"], ["00501", "1234567890123456789"]),
        ("number", ["1", "2.5", "-1e3", None], [1.0, 2.5, -1000.0, None]),
        ("integer", ["1", "2.0"], [1.0, 2.0]),
        ("boolean", ["TRUE", "0", None], [True, False, None]),
        ("target", ["true", "false"], [1.0, 0.0]),
        ("target", ["1", "0"], [1.0, 0.0]),
        ("time", ["2013-05-17T12:00", "2013-05-17 12:00:00.5"], [T(NOON), T("2013-05-17 12:00:00.5")]),
        ("time", ["2013-05-17T12:00:00+02:00"], [T("2013-05-17 10:00")]),
        ("time", ["2013-05-17T12+02:00", "2013-11-17T12+01:00"], [T("2013-05-17 10:00"), T("2013-11-17 11:00")]),
        ("time", ["2013-05-17T12:00:00Z", "2013-05-17"], [T(NOON), T("2013-05-17")]),
    ],
)  # fmt: skip
def test_text_is_read_as_what_the_spec_says(kind: ColumnKind, values: Any, expected: list[Any]) -> None:
    assert read(values, kind, text=True) == expected


@pytest.mark.parametrize(
    ("kind", "values", "text", "words"),
    [
        ("category", [NOON], False, "not a category"),
        ("category", [[1], [2]], False, r"2 values .* single values"),
        ("category", [{"a": 1}], False, "single values"),
        ("key", [1234567890123456789.0, None], False, r"inexact numbers, such as 1\.23.*as text or as integers"),
        ("key", [1.5], False, "inexact"),
        ("key", [["a"]], False, "text or integers"),
        ("number", ["1"], False, r"1 values that are not numbers, such as '1'.*type category"),
        ("number", ["1", "x", "x", "y"], True, r"3 values that are not numbers, such as 'x', 'y'.*na_values"),
        ("number", ["1,5"], True, "Decimal places follow a point"),
        ("number", [True, False], False, "type boolean in model.yaml"),
        ("number", pd.Series([True, None], dtype=object), False, "type boolean in model.yaml"),
        ("number", [NOON], False, "not a number"),
        ("number", [pd.Timedelta("1s")], False, "not a number"),
        ("integer", [1.5, 2.0], False, r"1 values that are not integers, such as 1\.5.*type number"),
        ("boolean", ["yes", None], True, "such as 'yes'.*type category"),
        ("boolean", [2], False, "not booleans"),
        ("target", ["yes"], True, "'yes'"),
        ("time", [1368779400], False, "numbers for times.*2013-05-17T08:30:00"),
        ("time", ["1368779400"], True, "such as '1368779400'"),
        ("time", ["05/17/2013"], True, "such as '05/17/2013'"),
        ("time", [[NOON]], False, "not times"),
    ],
)
def test_what_is_not_of_the_type_is_refused_with_column_value_and_remedy(
    kind: ColumnKind, values: Any, text: bool, words: str
) -> None:
    with pytest.raises(DataError, match=rf"^partition x: column 'c' .*{words}"):
        read(values, kind, text=text)


def test_a_column_that_is_there_twice_is_refused_only_if_it_is_needed() -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=["a", "b", "b"])
    assert typed_columns(frame, {"a": "number"}, "x", text=False)["a"].tolist() == [1]
    with pytest.raises(DataError, match="more than one column 'b'"):
        typed_columns(frame, {"b": "number"}, "x", text=False)


@pytest.mark.parametrize("kind", ["category", "key", "number", "integer", "boolean", "target", "time"])
def test_no_rows_have_the_type_too(kind: ColumnKind) -> None:
    whole = typed_columns(pd.DataFrame({"c": pd.Series([], dtype=object)}), {"c": kind}, "x", text=False)
    assert whole["c"].tolist() == []
    assert np.dtype("object") != whole["c"].dtype
