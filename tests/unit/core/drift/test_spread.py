"""Windows are judged by how the reference's own days and blocks differ: exact small cases, and no silent answer."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.drift import divergence, spread
from include.core.drift.columns import drift
from include.core.drift.counts import count_frame
from include.core.drift.figures import DriftSummary
from include.core.drift.profile import build_profile
from include.core.drift.spread import deviations
from include.core.spec import ModelSpec
from tests.support.specs import columns, model_spec

START = pd.Timestamp("2013-05-01")


def spec_for(dependence: str = "day", **monitoring: Any) -> ModelSpec:
    return model_spec(
        features=columns(heat="number", zone="category"), data={"dependence": dependence}, monitoring=monitoring
    )


def weather(days: int, seed: int, per_day: int = 50, first: int = 0) -> pd.DataFrame:
    """Each day has its own heat and its own share of zone a; rows of a day resemble each other."""
    random = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), per_day)
    heat = random.normal(0, 1, days)[day] + random.normal(0, 0.5, len(day))
    zone = np.where(random.random(len(day)) < random.uniform(0.3, 0.7, days)[day], "a", "b")
    at = START + pd.to_timedelta(first + day, unit="D")
    return pd.DataFrame({"heat": heat, "zone": zone, "at": at, "prediction": random.random(len(day))})


def judged(window: pd.DataFrame, reference: pd.DataFrame, spec: ModelSpec, profile: Any = None) -> DriftSummary:
    profile = profile or build_profile(reference, spec, reference.prediction, reference)
    json.dumps(profile, allow_nan=False)
    summary = drift(profile, count_frame(window, profile, spec), spec, days=window["at"].dt.floor("D").nunique())
    assert DriftSummary.from_dict(json.loads(json.dumps(summary.as_dict(), allow_nan=False))) == summary
    return summary


def test_rows_are_counted_by_day_and_bin_with_missing_values_last() -> None:
    zones = ["a", "a", "b", None, "a", "b", "b"]
    days = pd.Series(START + pd.to_timedelta([0, 0, 0, 0, 5, 5, 9], unit="D"))
    frame = pd.DataFrame({"heat": 1.0, "zone": zones, "at": days})
    profile: Any = build_profile(frame, spec_for(), [0.5], None)
    counted = profile["features"]["zone"]["spread"]
    assert list(profile["features"]["zone"]["counts"]) == ["a", "b"]
    assert counted["counts"] == [[2, 1, 0, 1], [1, 1, 0, 0], [0, 1, 0, 0]], "empty days are left out"
    assert (counted["days"], counted["blocks"], counted["effect"]) == (1, False, None)
    assert "spread" not in profile["prediction"], "nothing is known of the rows of the predictions"


@given(st.lists(st.tuples(st.integers(0, 900), st.one_of(st.none(), st.floats(-9, 9))), min_size=1, max_size=60))
def test_no_row_is_lost_and_many_days_are_merged(rows: list[tuple[int, float | None]]) -> None:
    days, heat = zip(*rows, strict=True)
    frame = pd.DataFrame({"heat": pd.Series(heat, dtype=float), "zone": "a", "at": START + pd.to_timedelta(days, "D")})
    profile: Any = build_profile(frame, spec_for(), [0.5])
    for column in profile["features"].values():
        by_bin = np.sum(column["spread"]["counts"], axis=0)
        assert by_bin.sum() == column["rows"]
        assert by_bin[-1] == column["missing"]
        assert len(column["spread"]["counts"]) <= spread.MAX_PERIODS


def test_many_days_and_many_sessions_make_no_larger_profile() -> None:
    days = 3 * spread.MAX_PERIODS - 1
    frame = weather(days, 0, per_day=2).assign(zone=[f"session {n // 2}" for n in range(2 * days)])
    profile: Any = build_profile(frame, spec_for("zone"), frame.prediction, frame)
    heat = profile["features"]["heat"]["spread"]
    assert (len(heat["counts"]), heat["days"]) == (spread.MAX_PERIODS, 3)
    assert len(json.dumps(profile)) < 60_000


def test_three_identical_rows_are_one() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"heat": np.repeat(random.normal(size=20_000), 3), "zone": np.repeat(np.arange(20_000), 3)})
    frame = frame.assign(at=START, zone=frame.zone.astype(str))
    profile: Any = build_profile(frame, spec_for("zone"), [0.5])
    assert profile["features"]["heat"]["spread"]["effect"] == pytest.approx(3.2, abs=0.5)


def test_days_that_differ_are_no_drift_and_were() -> None:
    reference = weather(60, 0)
    alarms = {"none": 0, "day": 0}
    for seed in range(1, 11):
        for dependence in alarms:
            alarms[dependence] += judged(weather(7, seed), reference, spec_for(dependence)).status == "drifted"
    assert alarms["none"] >= 9, "counted as independent rows, each week seems to drift"
    assert alarms["day"] <= 2


@pytest.mark.parametrize("days", [1, 7])
def test_what_no_day_of_the_reference_shows_is_drift(days: int) -> None:
    reference, window = weather(60, 0), weather(days, 1, per_day=300)
    missing = window.assign(heat=window.heat.where(np.arange(len(window)) % 3 > 0))
    assert judged(missing, reference, spec_for()).drifted == ("heat",)
    assert judged(window.assign(heat=window.heat + 20), reference, spec_for()).drifted == ("heat",)
    assert judged(window.assign(zone="new"), reference, spec_for()).drifted == ("zone",)


@pytest.mark.parametrize(("days", "words"), [(1, "only 1 day,"), (2, "only 2 days,")])
def test_a_reference_of_one_or_two_days_is_not_judged_and_says_why(days: int, words: str) -> None:
    summary = judged(weather(7, 1), weather(days, 0, per_day=500), spec_for())
    assert (summary.status, summary.drifted) == ("insufficient", ())
    assert words in (summary.features["heat"].reason or "")
    assert "too few days" in summary.basis


def test_few_independent_rows_are_not_judged() -> None:
    frame = weather(60, 0).assign(zone=lambda f: f["at"].dt.day_of_year.astype(str))
    profile: Any = build_profile(frame, spec_for("zone"), frame.prediction, frame)
    profile["features"]["heat"]["spread"] |= {
        "effect": 50.0,
        "counts": profile["features"]["heat"]["spread"]["counts"][:2],
    }
    figure = judged(weather(6, 1), frame, spec_for("zone"), profile).features["heat"]
    assert figure.status == "insufficient"
    assert "50 of them count as one" in (figure.reason or "")


def test_a_profile_of_before_counts_rows_as_independent_and_says_so() -> None:
    reference, window = weather(60, 0), weather(7, 1)
    old = build_profile(reference, spec_for("none"), reference.prediction)
    by_day, independent = judged(window, reference, spec_for(), old), judged(window, reference, spec_for("none"), old)
    assert by_day.columns == independent.columns
    assert "no counts by day" in by_day.basis
    assert "data.dependence: none" in independent.basis


def test_a_run_is_at_most_a_third_of_the_reference() -> None:
    reference = weather(12, 0)
    profile: Any = build_profile(reference, spec_for(), reference.prediction, reference)
    heat = profile["features"]["heat"]
    long, short = deviations(heat, heat["spread"], 30), deviations(heat, heat["spread"], 2)
    assert not isinstance(long, str)
    assert not isinstance(short, str)
    assert (long.days, long.separate, long.freedom) == (4, 3.0, 3.0)
    assert (short.days, short.freedom) == (2, 7.5)
    assert "at most a third" in judged(weather(30, 1), reference, spec_for(), profile).basis


def test_days_that_do_not_differ_add_nothing() -> None:
    random = np.random.default_rng(0)
    frame = weather(90, 0).assign(heat=lambda f: random.normal(size=len(f)))
    profile: Any = build_profile(frame, spec_for(), frame.prediction, frame)
    found = deviations(profile["features"]["heat"], profile["features"]["heat"]["spread"], 7)
    assert not isinstance(found, str)
    assert found.shrink < 0.5, "most of what the runs differ by is chance in their rows"


def test_shares_of_small_windows_are_not_biased_upwards() -> None:
    random, shares = np.random.default_rng(0), np.full(11, 1 / 11)
    before = random.multinomial(50_000, shares).astype(float)
    windows = random.multinomial(500, shares, size=400).astype(float)
    plain = np.abs(windows / 500 - before / 50_000).sum(axis=1).mean() / 2
    assert plain > 0.05
    assert divergence.total_variation(before, windows).mean() < 0.02
    moved = shares.copy()
    moved[0], moved[1] = 0, 2 / 11
    changed = random.multinomial(500, moved, size=400).astype(float)
    assert divergence.total_variation(before, changed).mean() == pytest.approx(1 / 11, abs=0.045)


def test_frequent_categories_are_not_counted_on_the_rows_that_chose_them() -> None:
    spec = model_spec(features=columns(**{f"c{n}": "category" for n in range(5)}), data={"dependence": "none"})

    def rows(seed: int) -> pd.DataFrame:
        values = np.random.default_rng(seed).integers(0, 400, (2000, 5)).astype(str)
        return pd.DataFrame(values, columns=[f"c{n}" for n in range(5)]).assign(prediction=0.5)

    alarms = 0
    for seed in range(10):
        before, now = rows(2 * seed), rows(2 * seed + 1)
        profile = build_profile(before, spec, before.prediction)
        alarms += bool(drift(profile, count_frame(now, profile, spec), spec).drifted)
    assert alarms <= 2, "10 of 10 if the 50 most frequent are counted where they were chosen"
