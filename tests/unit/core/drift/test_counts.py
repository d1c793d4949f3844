"""Counts say what is in a window, and the counts of parts add up to the count of the whole, exactly."""

import itertools
import json
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.core.drift.counts import NEW_VALUES, ColumnCount, WindowCount, count_column, count_frame
from include.core.drift.profile import build_profile
from include.core.spec import Feature
from tests.unit.core.monitored_rides import ride_spec, rides

SPEC = ride_spec()
REFERENCE = rides()
PROFILE = build_profile(REFERENCE, SPEC, REFERENCE.prediction)

numbers = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0, 2.0]))
texts = st.one_of(st.none(), st.sampled_from(["a", "b", "c"]), st.text(st.characters(codec="utf-8"), max_size=3))
rows = st.lists(st.tuples(numbers, numbers, texts, st.one_of(st.none(), st.booleans()), numbers), max_size=40)


def frame_of(values: list[Any]) -> pd.DataFrame:
    frame = pd.DataFrame(values, columns=["distance", "hour", "zone", "shared", "prediction"], dtype="object")
    return frame.astype({"distance": float, "hour": float, "prediction": float})


def counted(column: list[Any], **feature: Any) -> ColumnCount:
    described = Feature.model_validate({"name": "x", "type": "number", **feature})
    return count_column(pd.Series(column), described, None)


@settings(max_examples=60)
@given(rows, st.lists(st.integers(0, 40), max_size=4), st.randoms(use_true_random=False))
def test_counts_of_any_parts_in_any_order_add_up_to_the_whole(values: Any, cuts: Any, random: Any) -> None:
    bounds = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    parts = [values[start:end] for start, end in itertools.pairwise(bounds)]
    random.shuffle(parts)
    counts = [count_frame(frame_of(part), PROFILE, SPEC) for part in parts]
    assert reduce(add, counts, WindowCount()) == count_frame(frame_of(values), PROFILE, SPEC)


@settings(max_examples=40)
@given(rows)
def test_every_row_is_in_a_bin_or_missing_and_counts_survive_json(values: Any) -> None:
    count = count_frame(frame_of(values), PROFILE, SPEC)
    for column in count.columns.values():
        assert sum(column.bins) + column.missing == column.rows == len(values)
    assert WindowCount.from_dict(json.loads(json.dumps(count.as_dict(), allow_nan=False))) == count


def test_the_reference_counted_again_has_its_own_counts() -> None:
    count = count_frame(REFERENCE, PROFILE, SPEC)
    assert list(count.columns["distance"].bins) == PROFILE["features"]["distance"]["counts"]
    assert list(count.columns["zone"].bins) == [*PROFILE["features"]["zone"]["counts"].values(), 0]


def test_single_precision_does_not_move_a_value_into_the_next_bin() -> None:
    frame = REFERENCE.assign(distance=np.round(np.arange(len(REFERENCE)) % 10 / 10, 1))
    profile = build_profile(frame, SPEC, frame.prediction)
    shortened = frame.assign(distance=frame.distance.astype("float32"))
    assert count_frame(shortened, profile, SPEC).columns["distance"].bins == tuple(
        profile["features"]["distance"]["counts"]
    )


def test_what_is_wrong_with_numbers_is_counted_by_kind() -> None:
    count = counted([1, -5, 99, "text", None, np.inf, "2"], minimum=0, maximum=10)
    assert (count.rows, count.missing, count.type_errors, count.out_of_range) == (7, 3, 2, 2)
    assert (count.low, count.high) == (-5, 99)
    assert counted([1.0, 2.5, None], type="integer").type_errors == 1


def test_categories_outside_of_the_spec_are_out_of_range() -> None:
    assert counted(["a", "b", "x", None], type="category", categories=["a", "b"]).out_of_range == 1


def test_a_hundred_thousand_new_categories_stay_a_small_count() -> None:
    frame = rides(100_000).assign(zone=[f"zone {n}" for n in range(100_000)])
    count = count_frame(frame, PROFILE, SPEC).columns["zone"]
    assert count.bins[-1] == 100_000
    assert len(count.new) == NEW_VALUES
    assert len(json.dumps(count.new)) < 1000


def test_a_column_that_is_not_there_counts_as_missing() -> None:
    count = count_frame(rides(10).drop(columns="distance"), PROFILE, SPEC).columns["distance"]
    assert (count.rows, count.missing) == (10, 10)


def test_counts_of_different_references_do_not_add_up() -> None:
    other = build_profile(REFERENCE.assign(distance=1.0), SPEC, REFERENCE.prediction)
    with pytest.raises(ValueError, match="different references"):
        count_frame(rides(5), PROFILE, SPEC) + count_frame(rides(5), other, SPEC)
