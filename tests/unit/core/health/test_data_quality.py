"""Data quality says in a sentence what is wrong with the values of a window, and skew what differs from the source."""

import json
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.core.drift.counts import WindowCount, count_frame
from include.core.drift.profile import build_profile
from include.core.health.data_quality import SKEW_ROWS, ServedRows, data_quality, sampled, skew
from include.core.health.record import DataQuality, FeatureChecks, Skew, SkewFigure
from include.core.health.row_count import judge_row_count
from include.core.spec import ModelSpec
from tests.unit.core.monitored_rides import ride_spec, rides

SPEC = ride_spec()
REFERENCE = rides()
PROFILE = build_profile(REFERENCE, SPEC, REFERENCE.prediction)
NOTHING_KNOWN = ServedRows()


def checked(
    frame: pd.DataFrame, spec: ModelSpec = SPEC, served: ServedRows = NOTHING_KNOWN, **more: Any
) -> DataQuality:
    found = data_quality(count_frame(frame, PROFILE, spec), spec, PROFILE, served, **more)
    json.dumps(found.as_dict(), allow_nan=False)
    return found


def test_rows_as_the_spec_says_have_no_findings() -> None:
    found = checked(rides(seed=1))
    assert (found.findings, found.rows) == ((), 5000)
    assert found.features["zone"] == FeatureChecks(missing=0, type_errors=0, out_of_range=0, new_categories=0)


@pytest.mark.parametrize(
    ("name", "values", "finding"),
    [
        ("hour", [1, None, 3], "hour: 1 of 3 values are missing (allowed: 0.0%)"),
        ("hour", [1, 2.5, 3], "hour: 1 values are not of type integer"),
        ("distance", [-1, 2, 3], "distance: 1 values are outside the range or categories allowed in model.yaml"),
        ("zone", ["a", "x", "y"], "zone: 2 values have categories that are not in the reference (x, y)"),
    ],
)
def test_each_check_that_does_not_hold_is_a_sentence(name: str, values: Any, finding: str) -> None:
    assert checked(rides(3).assign(**{name: values})).findings == (finding,)


def test_missing_values_that_the_spec_allows_are_no_finding() -> None:
    assert checked(rides(4).assign(distance=pd.Series([None, None, 1, 2], dtype=object))).findings == ()


def test_a_category_beyond_the_listed_ones_is_not_called_new() -> None:
    many = REFERENCE.assign(zone=[f"zone {n % 500}" for n in range(len(REFERENCE))])
    profile = build_profile(many, SPEC, many.prediction)
    found = data_quality(count_frame(rides(5), profile, SPEC), SPEC, profile)
    assert found.features["zone"].new_categories == 0


@pytest.mark.parametrize(
    ("newest", "finding"),
    [
        (datetime(2013, 5, 30), ()),
        (datetime(2013, 5, 20), ("the newest event is 12.0 days old (allowed: 7)",)),
        (datetime(2013, 6, 1, 2), ("events are up to 2.0 hours in the future; check the clients' clocks",)),
    ],
)
def test_stale_windows_and_clocks_that_run_ahead_are_said(newest: Any, finding: Any) -> None:
    data = {**SPEC.data.model_dump(), "newest_at_most_days_old": 7}
    spec = ModelSpec.model_validate({**SPEC.model_dump(by_alias=True), "data": data})
    served = ServedRows(newest=newest, until=datetime(2013, 6, 1))
    assert checked(rides(5), spec, served).findings == finding


def test_an_unusual_number_of_predictions_is_the_first_finding() -> None:
    judged = judge_row_count(3, [1000] * 6, over=True)
    found = checked(rides(3).assign(hour=2.5), row_count=judged)
    assert [sentence.partition(":")[0] for sentence in found.findings] == ["unusually few predictions", "hour"]
    assert found.row_count == judged
    assert checked(rides(3), row_count=judge_row_count(3, [], over=True)).findings == ()


def test_repeats_are_reported() -> None:
    found = checked(rides(5), served=ServedRows(repeats=3, repeated_keys=2))
    assert (found.repeats, found.repeated_keys) == (3, 2)


def test_a_window_without_rows_has_nothing_to_say() -> None:
    for count in (WindowCount(), count_frame(rides(0), PROFILE, SPEC)):
        assert data_quality(count, SPEC, PROFILE).findings == ()


def test_served_rows_are_compared_by_key_with_the_source_in_any_form() -> None:
    source = rides(100).assign(id=range(100))
    served = source.iloc[20:60].assign(
        key=lambda f: f.id.astype(str), distance=lambda f: f.distance.astype("float32"), hour=lambda f: f.hour * 1.0
    )
    same = {name: SkewFigure(rows=40, different=0) for name in SPEC.feature_names}
    assert skew(served, source, SPEC, drawn_from=99) == Skew(rows=40, features=same, asked=40, of=99)


def test_rows_that_differ_from_the_source_are_counted_by_feature_and_found() -> None:
    source = rides(10).assign(id=range(10))
    served = source.assign(key=lambda f: f.id.astype(str)).iloc[:4].copy()
    served["distance"] = [*served["distance"][:2], None, 99.0]
    served["zone"] = [None, *served["zone"][1:]]
    found = skew(served, source.assign(zone=source.zone.astype("string")), SPEC)
    assert {name: figure.different for name, figure in found.features.items()} == {
        "distance": 2, "hour": 0, "zone": 1, "shared": 0,
    }  # fmt: skip
    sentences = checked(rides(5), skew=found).findings
    assert sentences == ("distance: 2 of 4 rows differ from the source", "zone: 1 of 4 rows differ from the source")


def test_of_many_rows_a_seeded_sample_is_compared() -> None:
    few = np.arange(10, 500)
    assert sampled(few) is few
    many = np.arange(SKEW_ROWS * 3)[::-1]
    chosen = sampled(many)
    assert len(set(chosen)) == len(chosen) == SKEW_ROWS
    assert (np.diff(chosen) > 0).all()
    assert (sampled(many) == chosen).all(), "measuring a window again gives the same health"
    assert chosen.mean() == pytest.approx(many.mean(), rel=0.02)


def test_strangers_missing_on_both_sides_and_ambiguous_keys_are_no_skew() -> None:
    source = rides(6).assign(id=pd.Series([0, 1, 2, 3, 3, None]), distance=None)
    served = rides(6, seed=1).assign(key=pd.Series(["0", "1", "3", "77", "78", None]), distance=None)
    found = skew(served, source, SPEC)
    assert (found.rows, found.features["distance"].different) == (2, 0)
