"""Drift means that something changed: chance is not drift, what matters is found, too little is not judged."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from include.core.drift.columns import drift
from include.core.drift.counts import count_frame
from include.core.drift.figures import DriftSummary
from include.core.drift.profile import build_profile
from include.core.spec import ModelSpec
from tests.unit.core.monitored_rides import ride_spec, rides

SPEC = ride_spec()
REFERENCE = rides()
PROFILE = build_profile(REFERENCE, SPEC, REFERENCE.prediction)


def found(frame: pd.DataFrame, profile: Any = PROFILE, **monitoring: Any) -> DriftSummary:
    spec = ride_spec(**monitoring)
    result = drift(profile, count_frame(frame, profile, spec), spec)
    json.dumps(result.as_dict(), allow_nan=False)
    return result


def test_another_sample_of_the_same_distribution_is_no_drift() -> None:
    result = found(rides(seed=1))
    assert (result.drifted, result.status) == ((), "steady")
    for figure in result.columns.values():
        assert 0 <= figure.psi < figure.limits["psi"] < 0.03
        assert 0 < figure.errors["psi"] < 0.02


def test_a_shift_of_three_tenths_of_a_deviation_scores_about_what_was_measured() -> None:
    shifted = rides(seed=1).assign(prediction=lambda f: f.prediction + 0.9)
    figure = found(shifted).prediction
    assert figure.status == "drifted"
    assert figure.psi == pytest.approx(0.09, abs=0.03)
    assert figure.scores["ks"] == pytest.approx(
        stats.ks_2samp(REFERENCE.prediction, shifted.prediction).statistic, abs=0.01
    )
    assert figure.total_variation == pytest.approx(0.12, abs=0.02)
    earth = stats.wasserstein_distance(REFERENCE.prediction, shifted.prediction)
    assert figure.scores["wasserstein"] == pytest.approx(earth, rel=0.03)
    assert earth == pytest.approx(0.9, abs=0.1), "Wasserstein is in the column's own units"


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("distance", lambda f: f.distance * 3),
        ("distance", lambda f: f.distance.where(f.index % 2 == 0)),
        ("distance", lambda f: f.distance + 1000),
        ("distance", lambda f: pd.Series([None] * len(f), dtype=float)),
        ("distance", lambda f: 3.0),
        ("hour", lambda f: f.hour % 6),
        ("zone", lambda f: f.zone.replace("a", "new")),
        ("zone", lambda f: pd.Series([None] * len(f), dtype="object")),
        ("shared", lambda f: ~f.shared),
    ],
)
def test_drift_of_one_feature_shows_there_and_nowhere_else(name: str, changed: Any) -> None:
    frame = rides(seed=1)
    assert found(frame.assign(**{name: changed(frame)})).drifted == (name,)


def test_new_and_vanished_categories_are_named() -> None:
    figure = found(rides(seed=1).assign(zone=lambda f: f.zone.replace("c", "d"))).features["zone"]
    assert set(figure.new or ()) == {"d"}
    assert figure.vanished == ("c",)
    assert figure.scores["chi_square"] > 100


def test_a_rare_category_that_a_small_window_lacks_has_not_vanished() -> None:
    frame = REFERENCE.assign(zone=np.where(REFERENCE.index < 5, "rare", REFERENCE.zone))
    profile = build_profile(frame, SPEC, frame.prediction)
    assert found(rides(300, seed=1), profile).features["zone"].vanished == ()


def test_a_hundred_thousand_new_categories_are_drift_in_a_row_that_stays_small() -> None:
    frame = rides(100_000, seed=1).assign(zone=[f"zone {n}" for n in range(100_000)])
    result = found(frame)
    figure = result.features["zone"]
    assert result.drifted == ("zone",)
    assert len(figure.new or ()) == 20
    assert figure.distribution.bins[-1] == "all others"
    assert len(json.dumps(result.as_dict())) < 12_000


def test_small_windows_and_small_references_say_insufficient_and_are_no_drift() -> None:
    shifted = rides(50, seed=1).assign(distance=1000.0)
    result = found(shifted)
    assert (result.status, result.drifted) == ("insufficient", ())
    assert result.features["distance"].psi > 1, "the score is there, only the judgement is not"
    assert found(shifted, rows_at_least=20).drifted == ("distance",)
    small = build_profile(REFERENCE[:50], SPEC, REFERENCE.prediction)
    assert found(rides(seed=1), small).features["distance"].status == "insufficient"


def test_limits_and_errors_shrink_with_rows() -> None:
    few, many = (found(rides(rows, seed=1)).features["distance"] for rows in (300, 5000))
    assert few.limits["psi"] > 2 * many.limits["psi"]
    assert few.limits["ks"] > 2 * many.limits["ks"]
    assert few.errors["ks"] > many.errors["ks"]


def test_fewer_false_alarms_and_more_columns_need_higher_limits() -> None:
    def limit(spec: ModelSpec, profile: Any = PROFILE) -> Any:
        return drift(profile, count_frame(rides(seed=1), profile, spec), spec).prediction.limits["psi"]

    alone = ride_spec().model_copy(update={"features": []})
    assert limit(alone) < limit(SPEC) < limit(ride_spec(drift_false_alarm_rate=0.001))


def test_what_is_certain_but_too_small_to_matter_is_steady() -> None:
    reference = rides(100_000)
    profile = build_profile(reference, SPEC, reference.prediction)
    slightly = rides(100_000, seed=1).assign(prediction=lambda f: f.prediction + 0.12)  # 0.04 sd: 1.6 % of rows
    steady = found(slightly, profile).prediction
    assert steady.scores["ks"] > steady.limits["ks"]
    assert steady.status == "steady"
    assert found(slightly, profile, drift_effect_at_least=0).drifted == ("prediction",)


def test_missing_values_are_shares_now_and_in_the_reference() -> None:
    before = rides().assign(distance=lambda f: f.distance.where(f.index % 10 != 0))
    after = rides(seed=1).assign(distance=lambda f: f.distance.where(f.index % 4 != 0))
    figure = found(after, build_profile(before, SPEC, before.prediction)).features["distance"]
    assert (figure.missing, figure.reference_missing) == (0.25, 0.1)


def test_values_as_the_log_writes_them_are_not_drift() -> None:
    logged = pd.DataFrame(
        {
            "distance": REFERENCE.distance,
            "hour": REFERENCE.hour.astype(float),
            "zone": REFERENCE.zone.astype("string"),
            "shared": REFERENCE.shared.map({True: 1, False: 0}),
            "prediction": REFERENCE.prediction,
        }
    )
    assert all(figure.psi < 1e-9 for figure in found(logged).features.values())


@pytest.mark.parametrize("value", [None, 7.0])
def test_a_reference_column_that_is_empty_or_constant_drifts_when_values_come(value: float | None) -> None:
    before = rides().assign(distance=value)
    profile = build_profile(before, SPEC, before.prediction)
    assert found(rides(seed=1).assign(distance=value), profile).drifted == ()
    assert found(rides(seed=1), profile).drifted == ("distance",)


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_or_one_row_is_no_error(rows: int) -> None:
    result = found(rides(rows))
    assert result.drifted == ()
    assert result.status == ("insufficient" if rows else "unknown")


def test_without_rows_or_reference_there_is_no_figure() -> None:
    nothing = found(rides().iloc[:0])
    assert nothing.prediction.psi is None
    assert (nothing.features["hour"].missing, nothing.features["hour"].reference_missing) == (None, 0.0)
    profiles: list[Any] = [None, {}]
    for profile in profiles:
        assert found(rides(), profile).features["hour"].psi is None
        assert found(rides(), profile).status == "unknown"


def test_a_profile_of_before_with_ten_bins_still_serves() -> None:
    edges = np.quantile(REFERENCE.distance, np.linspace(0, 1, 11))
    old = {"kind": "numeric", "edges": edges.tolist(), "counts": [1, 499, *[500] * 9, 0], "missing": 0, "rows": 5000}
    profile = {**PROFILE, "features": {**PROFILE["features"], "distance": old}}
    assert found(rides(seed=1), profile).drifted == ()
