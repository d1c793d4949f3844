"""The reference profile keeps no data, and every row of the reference lies in one of its bins."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from include.core.drift.profile import build_profile
from tests.unit.core.monitored_rides import ride_spec, rides

SPEC = ride_spec()


def test_profile_survives_json_and_is_small_whatever_the_data() -> None:
    frame = rides(20_000).assign(zone=[f"zone {n}" for n in range(20_000)])
    profile = build_profile(frame, SPEC, frame.prediction)
    assert json.loads(json.dumps(profile, allow_nan=False)) == profile
    assert len(json.dumps(profile)) < 6000


def test_quantile_bins_hold_equal_shares_and_few_values_a_bin_each() -> None:
    frame = rides(4000).assign(hour=lambda f: f.hour % 3)
    features: Any = build_profile(frame, SPEC, frame.prediction)["features"]
    counts = features["distance"]["counts"]
    assert set(counts[4:-4]) == {100}, "a fortieth each"
    assert counts[1:4] == counts[-2:-5:-1] == [20, 20, 60], "and finer tails"
    assert features["hour"]["values"] == [0, 1, 2]
    assert features["hour"]["counts"] == [0, *frame.hour.value_counts().sort_index(), 0]


@pytest.mark.parametrize("values", [[], [None, None], [7.0], [7.0, 7.0], [np.inf, 1.0]])
def test_columns_with_next_to_nothing_in_them_have_a_profile(values: Any) -> None:
    frame = rides(len(values)).assign(distance=pd.Series(values, dtype=float))
    json.dumps(build_profile(frame, SPEC, frame.prediction), allow_nan=False)


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), max_size=60))
@example([0.0, 5e-324])
@example([5e-324, 1e-323, 1.5e-323])
@example([1.0, 1.0000000000000002, 1.0000000000000004])
def test_every_row_is_in_a_bin_or_missing(values: Any) -> None:
    frame = rides(len(values)).assign(distance=pd.Series(values, dtype=float))
    reference: Any = build_profile(frame, SPEC, frame.prediction)["features"]["distance"]
    assert reference["rows"] == sum(reference["counts"]) + reference["missing"] == len(values)
    assert reference["edges"] == sorted(set(reference["edges"]))
    if "values" in reference and max(map(abs, reference["values"])) < 1e308:
        assert all(reference["counts"][1:-1]) and not reference["counts"][0] + reference["counts"][-1], "a bin each"
