"""Features have the same types for training, scoring and serving, whatever the data came as."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.runtime.config import Feature
from include.runtime.frames import between, feature_frame, read_rows
from include.runtime.jobs import ModelError


def typed(kind: Any, values: Any) -> Any:
    return feature_frame({"x": values}, [{"name": "x", "type": kind}])["x"]


@pytest.mark.parametrize("kind", ["number", "integer", "boolean"])
@pytest.mark.parametrize(
    "values, expected",
    [
        ([1, None], [1.0, np.nan]),
        ([None], [np.nan]),
        ([True, None, False], [1.0, np.nan, 0.0]),
        (pd.Series([1, None], dtype="Int64"), [1.0, np.nan]),
        (pd.Series([True, None], dtype="boolean"), [1.0, np.nan]),
        (np.array([0, 1], dtype="int8"), [0.0, 1.0]),
    ],
)
def test_a_number_or_boolean_is_a_float_whatever_it_came_as(kind: str, values: Any, expected: Any) -> None:
    found = typed(kind, values)
    assert found.dtype == "float64"
    np.testing.assert_array_equal(found, expected)


def test_a_number_larger_than_any_integer_of_numpy_is_a_float() -> None:
    assert typed("number", [10**300, 2**64]).tolist() == [1e300, 2.0**64]


@pytest.mark.parametrize(
    "values, expected",
    [
        (["a", None], ["a", None]),
        (["a", float("nan"), pd.NA], ["a", None, None]),
        ([None], [None]),
        ([1, 2], ["1", "2"]),
        ([1.0, None, 2.5], ["1", None, "2.5"]),  # as a column of whole numbers with gaps comes from Parquet
        (pd.Series(["a", None], dtype="str"), ["a", None]),
        (pd.Series(["a", None], dtype="category"), ["a", None]),
    ],
)
def test_a_category_is_text_and_none_where_it_is_missing(values: Any, expected: Any) -> None:
    found = typed("category", values)
    assert found.dtype == object
    assert found.tolist() == expected


@pytest.mark.parametrize("values", [["late"], [[1]]])
def test_a_column_that_is_not_numeric_is_named_with_the_remedy(values: Any) -> None:
    with pytest.raises(ModelError, match=r"column 'x' is not numeric .* Correct the data, or the type"):
        typed("number", values)


def test_a_missing_column_is_named_with_the_remedy() -> None:
    with pytest.raises(ModelError, match="column 'distance' is missing .* Add it, or remove"):
        feature_frame({"origin": ["EWR"]}, [{"name": "distance", "type": "number"}])


def test_features_come_in_the_order_of_the_spec_and_nothing_else_comes() -> None:
    features: list[Feature] = [{"name": "b", "type": "number"}, {"name": "a", "type": "category"}]
    frame = pd.DataFrame({"a": ["x", "y"], "b": [1, 2], "target": [0, 1]}, index=[7, 8])
    found = feature_frame(frame, features)
    assert found.columns.tolist() == ["b", "a"]
    assert found.to_numpy().tolist() == [[1.0, "x"], [2.0, "y"]]


@pytest.mark.parametrize(
    "start, end, expected",
    [
        (None, None, [1, 2, 3]),
        ("2013-05-02", None, [2, 3]),
        (None, "2013-05-02", [1]),
        ("2013-05-02", "2013-05-03", [2]),
        ("2013-05-02T00:00:01", "2013-05-03T00:00:01", [3]),
        ("2013-05-04", None, []),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_the_start_belongs_to_a_span_and_the_end_does_not(
    start: str | None, end: str | None, expected: Any, as_text: bool
) -> None:
    times = ["2013-05-01", "2013-05-02", "2013-05-03"]
    frame = pd.DataFrame({"at": times if as_text else pd.to_datetime(times), "x": [1, 2, 3]}, index=[5, 6, 7])
    found = between(frame, "at", start, end)
    assert found["x"].tolist() == expected
    assert found.index.tolist() == list(range(len(expected)))


@pytest.fixture
def windows(tmp_path: Path) -> Any:
    paths = [str(tmp_path / "one.parquet"), str(tmp_path / "two.parquet")]
    for number, path in enumerate(paths):
        pd.DataFrame({"a": [number], "b": ["x"], "c": [0]}).to_parquet(path)
    return paths


def test_files_are_read_one_after_the_other_and_a_column_named_twice_is_read_once(windows: Any) -> None:
    found = read_rows(windows, ["b", "a", "b"])
    assert found.to_dict("list") == {"b": ["x", "x"], "a": [0, 1]}
    assert found.index.tolist() == [0, 1]


def test_a_column_that_a_file_does_not_have_is_named_with_the_remedy(windows: Any) -> None:
    with pytest.raises(
        ModelError, match=r"columns missing from the data: distance .*one.parquet.* Add them to the query"
    ):
        read_rows(windows, ["a", "distance"])
