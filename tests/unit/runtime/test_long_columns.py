"""Long columns are checked all at once: with the same outcome as one value after the other."""

import math
from datetime import datetime
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.runtime.event_times import EventTimeError, EventTimes
from include.runtime.inference import ACCEPTED, BadRequestError, Inference
from tests.unit.runtime.test_inference import asked, parsed

ROWS = 20
LONG = {"max_rows": ROWS}
KINDS = {"distance": "number", "seats": "integer", "night": "boolean", "origin": "category"}
USUAL: dict[str, st.SearchStrategy[Any]] = {
    "distance": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70),
    "seats": st.none() | st.integers(-(2**53), 2**53) | st.sampled_from([3.0, -0.0]),
    "night": st.sampled_from([None, True, False, 0, 1, 1.0]),
    "origin": st.none() | st.text(max_size=3),
}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 1, 1.5, -1, 2**70, 10**400, 1.79e308, "", "null", "1", [], {}]
)


def outcome(content: Any) -> Inference | str:
    try:
        return parsed(content, **LONG)
    except BadRequestError as error:
        return str(error)


@pytest.mark.parametrize("feature", KINDS)
@given(data=st.data())
@settings(max_examples=60)
def test_a_long_column_is_read_as_its_values_are(feature: str, data: st.DataObject) -> None:
    usual, few = st.lists(USUAL[feature], min_size=ROWS, max_size=ROWS), st.lists(ODD, max_size=2)
    odd = data.draw(few)
    values = [*odd, *data.draw(usual)[len(odd) :]]
    datatype = data.draw(st.sampled_from(sorted(ACCEPTED[KINDS[feature]])))
    content = asked(rows=ROWS, **{feature: {"datatype": datatype, "data": values}})
    together = outcome(content)
    with mock.patch("include.runtime.inference.SHORT", math.inf):
        one_by_one = outcome(content)
    if isinstance(together, str) or isinstance(one_by_one, str):
        assert together == one_by_one
        return
    assert together.features == one_by_one.features
    assert together.missing == one_by_one.missing == ({feature: count} if (count := values.count(None)) else {})
    assert one_by_one.numbers == {}
    assert {"distance", "seats"} - {feature} <= set(together.numbers) <= {"distance", "seats"}
    for name, numbers in together.numbers.items():
        np.testing.assert_array_equal(numbers, np.array(together.features[name], dtype=float))


TIMES = st.datetimes(datetime(1971, 1, 1), datetime(2020, 1, 1)).map(datetime.isoformat) | st.sampled_from(
    ["2013-05-17", "20130517T0830", "2013-05-17 08:30:00", "2013-05-17T08:30:00.5", "2013-05-17T08:30:00+02:00"]
)
WRONG = st.sampled_from(["", "yesterday", "1969-12-31T23:59:59", "9999-12-31", "1970-01-01T00:30:00+01:00"])


@given(st.lists(TIMES, min_size=1, max_size=10), st.lists(WRONG, max_size=1))
def test_many_event_times_are_read_as_each_of_them_is(times: list[str], wrong: list[str]) -> None:
    accepted = EventTimes()

    def read(texts: list[str]) -> dict[str, str] | str:
        try:
            return accepted.read(texts)
        except EventTimeError as error:
            return str(error)

    if wrong:
        assert read([*times, *wrong]) == read(wrong)
    else:
        assert read(times) == {text: datetime.fromisoformat(text).isoformat() for text in times}
