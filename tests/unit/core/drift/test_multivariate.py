"""All features together: a changed dependence is found, chance is not, and what can't be judged says why."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from include.core.drift.columns import drift
from include.core.drift.counts import count_frame
from include.core.drift.figures import MultivariateFigure
from include.core.drift.multivariate import Sample, compare, prediction_limit
from include.core.drift.profile import build_profile
from include.core.spec import ModelSpec
from tests.support.specs import columns, model_spec
from tests.unit.core.monitored_rides import ride_spec, rides

SPEC = ride_spec()
REFERENCE = rides(3000)


def sample(frame: pd.DataFrame, drawn_from: int | None = None) -> Sample:
    return Sample(frame.drop(columns="prediction"), drawn_from or len(frame))


def found(
    window: pd.DataFrame, reference: pd.DataFrame = REFERENCE, seed: int = 0, **monitoring: Any
) -> MultivariateFigure:
    figure = compare(sample(reference), sample(window), ride_spec(**monitoring), seed=seed)
    json.dumps(figure.as_dict(), allow_nan=False)
    return figure


def tangled(frame: pd.DataFrame) -> pd.DataFrame:
    """Far rides come late in the day: both columns keep their values, their order is another."""
    order = np.argsort(np.argsort(frame.distance + np.random.default_rng(0).normal(0, 2, len(frame))))
    return frame.assign(hour=np.sort(frame.hour)[order])


def test_a_changed_dependence_is_found_though_every_column_is_steady() -> None:
    window = tangled(rides(2000, seed=1))
    figure = found(window)
    assert figure.status == "drifted"
    assert figure.auc > figure.low > figure.limit > 0.5
    assert {one.feature for one in figure.importances[:2]} == {"distance", "hour"}
    assert sum(one.share for one in figure.importances) <= 1 + 1e-9
    profile = build_profile(REFERENCE, SPEC, REFERENCE.prediction)
    whole = drift(profile, count_frame(window, profile, SPEC), SPEC, figure)
    assert {one.status for one in whole.features.values()} == {"steady"}
    assert (whole.status, whole.drifted) == ("drifted", ())


def test_what_has_not_changed_alerts_no_oftener_than_accepted() -> None:
    windows = 30
    spec = {"drift_false_alarm_rate": 0.2, "drift_effect_at_least": 0}  # a tenth for this test
    alarms = sum(
        found(rides(300, seed=2 * n + 1), rides(300, seed=2 * n + 2), seed=n, **spec).status == "drifted"
        for n in range(windows)
    )
    assert alarms <= 7, "more than 7 of 30 happen in 1 of 100 such tests at a rate of a tenth"


def test_both_tests_share_the_rate_where_both_judge() -> None:
    profile = build_profile(REFERENCE, SPEC, REFERENCE.prediction)
    window = rides(1000, seed=1)
    count = count_frame(window, profile, SPEC)
    alone, both = drift(profile, count, SPEC), drift(profile, count, SPEC, found(window))
    half = drift(profile, count, ride_spec(drift_false_alarm_rate=0.025))
    assert alone.multivariate.status == "unknown"
    assert both.prediction.limits == half.prediction.limits
    assert both.prediction.limits["psi"] > alone.prediction.limits["psi"]


def test_the_effect_is_a_share_of_rows_and_a_small_one_does_not_matter() -> None:
    window = rides(3000, seed=1)
    window["zone"] = np.where(np.arange(3000) % 10 < 2, "new", window.zone)
    figure = found(window)
    assert figure.total_variation == pytest.approx(0.2, abs=0.04)
    small = found(window, drift_effect_at_least=0.5)
    assert (small.status, small.auc > small.limit) == ("steady", True)


def test_unequal_sides_do_not_tilt_the_effect() -> None:
    assert found(rides(300, seed=1)).total_variation < 0.15
    half = rides(300, seed=1).assign(zone=lambda f: f.zone.where(f.index % 2 == 0, "new"))
    assert found(half).total_variation == pytest.approx(0.5, abs=0.1)


def test_the_same_seed_gives_the_same_figure() -> None:
    window = tangled(rides(500, seed=1))
    assert found(window, seed=7) == found(window, seed=7)
    assert found(window, seed=7) != found(window, seed=8)


@pytest.mark.parametrize("value", [None, 7.0])
def test_columns_that_are_empty_or_constant_on_both_sides_say_nothing(value: float | None) -> None:
    same = {"distance": value, "hour": value, "zone": None if value is None else "a", "shared": value}
    figure = found(rides(400, seed=1).assign(**same), rides(400).assign(**same))
    assert (figure.auc, figure.status, figure.importances) == (0.5, "steady", ())


def test_a_column_that_became_empty_is_what_the_classifier_leans_on() -> None:
    figure = found(rides(400, seed=1).assign(distance=None))
    assert figure.status == "drifted"
    assert figure.importances[0].feature == "distance"


def test_a_category_of_a_hundred_thousand_values_is_told_from_few() -> None:
    many = rides(2000, seed=1).assign(zone=[f"z{n * 50}" for n in range(2000)])
    assert found(many).importances[0].feature == "zone"
    other = rides(2000).assign(zone=[f"y{n * 50}" for n in range(2000)])
    assert found(many, other).status == "steady", "values that each occur once tell nothing"


def test_values_that_only_one_side_keeps_in_double_are_the_same() -> None:
    tenths = rides(1000).assign(distance=lambda f: f.distance.round(1))
    logged = rides(1000, seed=1).assign(distance=lambda f: f.distance.round(1))
    assert found(logged, tenths.astype({"distance": "float32"})).status == "steady"


@pytest.mark.parametrize(
    ("rows", "monitoring", "status"),
    [
        (0, {}, "unknown"),
        (1, {}, "insufficient"),
        (199, {}, "insufficient"),
        (3, {"rows_at_least": 1}, "insufficient"),
        (39, {"rows_at_least": 1}, "insufficient"),
        (40, {"rows_at_least": 1}, "steady"),
    ],
)
def test_too_little_is_not_judged_and_says_so(rows: int, monitoring: Any, status: str) -> None:
    for figure in (found(rides(rows, seed=1), **monitoring), found(rides(500), rides(rows, seed=1), **monitoring)):
        assert figure.status == status
        assert bool(figure.reason) == (figure.auc is None) == (status != "steady")


def test_a_sample_counts_for_the_rows_that_it_was_drawn_from() -> None:
    spec = ride_spec(rows_at_least=10_000)
    few = compare(sample(REFERENCE), sample(rides(500, seed=1), 20_000), spec)
    enough = compare(sample(REFERENCE, 20_000), sample(rides(500, seed=1), 20_000), spec)
    assert (few.status, enough.status) == ("insufficient", "steady")


def test_one_feature_has_nothing_to_depend_on() -> None:
    figure = compare(sample(REFERENCE[["distance", "prediction"]]), sample(rides(500, seed=1)), SPEC)
    assert figure.status == "unknown"
    assert "two features" in figure.reason


def dependent(dependence: str, **monitoring: Any) -> ModelSpec:
    features = columns(x0="number", x1="number", session="category")
    return model_spec(features=features, data={"dependence": dependence}, monitoring=monitoring)


def blocks(count: int, size: int, seed: int, days: int = 1, first: int = 0) -> Sample:
    """Rows of which ``size`` are the same, on ``days`` days; each day is different."""
    random = np.random.default_rng(seed)
    session = np.arange(count * size) // size
    day = random.integers(0, days, count)
    x = random.normal(size=(count, 2)) + 3 * random.normal(size=(days, 2))[day] * (days > 1)
    frame = pd.DataFrame(x[session], columns=["x0", "x1"]).assign(session=[f"{seed}-{number}" for number in session])
    times = pd.Series(pd.Timestamp("2013-05-01") + pd.to_timedelta(first + day[session], unit="D"))
    return Sample(frame, len(frame), times)


def test_sessions_of_identical_rows_are_no_drift_and_were() -> None:
    alarms = {"none": 0, "session": 0}
    for seed in range(8):
        for dependence in alarms:
            pair = blocks(500, 3, 2 * seed), blocks(300, 3, 2 * seed + 1)
            alarms[dependence] += compare(*pair, dependent(dependence), seed=seed).status == "drifted"
    assert alarms["none"] == 8, "the classifier recognises the other rows of a session"
    assert alarms["session"] <= 2, "more than 2 of 8 happen in 1 of 1,000 such tests"


def runs_of(reference: Sample) -> Any:
    def draw(start: pd.Timestamp, end: pd.Timestamp, rows: int) -> Sample:
        assert reference.times is not None
        inside = np.flatnonzero((reference.times >= start) & (reference.times < end))
        return reference.take(inside[:rows])

    return draw


def test_days_are_recognised_but_no_better_than_those_of_the_reference() -> None:
    reference, window = blocks(4000, 1, 0, days=30), blocks(400, 1, 1, days=3, first=40)
    assert compare(reference, window, dependent("none")).status == "drifted"
    figure = compare(reference, window, dependent("day"), draw_run=runs_of(reference))
    assert (figure.status, figure.runs is not None) == ("steady", True)
    apart = Sample(window.frame.assign(x0=window.frame.x0 + 40), window.drawn_from, window.times)
    found = compare(reference, apart, dependent("day"), draw_run=runs_of(reference))
    assert found.status == "drifted"
    assert (found.auc or 0) > (found.limit or 1)


def test_one_day_against_one_day_is_not_judged_and_says_why() -> None:
    figure = compare(blocks(900, 1, 0), tangled_blocks(blocks(900, 1, 1, first=3)), dependent("day"))
    assert figure.status == "insufficient"
    assert "one side has 1 of" in (figure.reason or "")


def tangled_blocks(sample: Sample) -> Sample:
    return Sample(sample.frame.assign(x1=sample.frame.x0), sample.drawn_from, sample.times)


def test_a_change_within_sessions_is_found() -> None:
    pair = blocks(500, 3, 0), tangled_blocks(blocks(300, 3, 1))
    assert compare(*pair, dependent("session")).status == "drifted"


def test_the_limit_for_one_more_run_is_a_prediction_limit() -> None:
    scale = np.array([-0.1, 0.0, 0.2, 0.3])
    expected = scale.mean() + stats.t.ppf(0.975, 3) * scale.std(ddof=1) * np.sqrt(1.25)
    assert prediction_limit(list(stats.norm.cdf(scale)), 0.025) == pytest.approx(stats.norm.cdf(expected))
    assert prediction_limit([1.0, 1.0, 0.999], 0.025) <= 1
