"""The reference profile keeps no data, and drift against it means what it says."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.profile import build_profile, drift, psi
from include.core.spec import ModelSpec

SPEC = ModelSpec.model_validate(
    {
        "schema": 1,
        "name": "taxi",
        "owner": "team",
        "description": "d",
        "repository": {"url": "r"},
        "task": "regression",
        "target": "minutes",
        "features": [
            {"name": "distance", "type": "number"},
            {"name": "hour", "type": "integer"},
            {"name": "zone", "type": "category"},
            {"name": "shared", "type": "boolean"},
        ],
        "data": {"source": {"path": "{window}.csv"}, "key": "id", "event_time": "at"},
        "truth": {"source": {"path": "t{window}.csv"}, "key": "id", "column": "minutes"},
        "metrics": {"primary": "mae"},
        "degradation": {"drop": 1},
    }
)


def rides(count: int = 5000, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "distance": random.gamma(2, 2, count),
            "hour": random.integers(0, 24, count),
            "zone": random.choice(["a", "b", "c"], count, p=[0.6, 0.3, 0.1]),
            "shared": random.random(count) < 0.2,
            "prediction": random.normal(10, 3, count),
        }
    )


@pytest.fixture(scope="module")
def profile() -> dict:
    frame = rides()
    return build_profile(frame, SPEC, frame.prediction)


def test_profile_survives_json_and_is_small_whatever_the_data(profile):
    assert json.loads(json.dumps(profile, allow_nan=False)) == profile
    frame = rides(20_000).assign(zone=[f"zone {n}" for n in range(20_000)])
    assert len(json.dumps(build_profile(frame, SPEC, frame.prediction))) < 6000


def test_another_sample_of_the_same_distribution_is_no_drift(profile):
    found = drift(profile, rides(seed=1), SPEC)
    assert all(0 <= figure["psi"] < 0.02 for figure in found["features"].values())
    assert found["prediction"]["psi"] < 0.02


def test_a_shift_of_three_tenths_of_a_deviation_scores_about_what_was_measured(profile):
    moved = rides(seed=1).assign(prediction=lambda f: f.prediction + 0.9)
    assert drift(profile, moved, SPEC)["prediction"]["psi"] == pytest.approx(0.09, abs=0.03)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("distance", lambda f: f.distance * 3),
        ("distance", lambda f: f.distance.where(f.index % 2 == 0)),
        ("distance", lambda f: f.distance + 1000),
        ("hour", lambda f: f.hour % 6),
        ("zone", lambda f: f.zone.replace("a", "new")),
        ("zone", lambda f: pd.Series([None] * len(f), dtype="object")),
        ("shared", lambda f: ~f.shared),
    ],
)
def test_drift_of_one_feature_shows_there_and_nowhere_else(profile, name, changed):
    frame = rides(seed=1)
    found = drift(profile, frame.assign(**{name: changed(frame)}), SPEC)["features"]
    assert [feature for feature, figure in found.items() if figure["psi"] > 0.2] == [name]


def test_missing_values_are_shares_now_and_in_the_reference():
    before = rides().assign(distance=lambda f: f.distance.where(f.index % 10 != 0))
    after = rides(seed=1).assign(distance=lambda f: f.distance.where(f.index % 4 != 0))
    found = drift(build_profile(before, SPEC, before.prediction), after, SPEC)["features"]["distance"]
    assert (found["missing"], found["reference_missing"]) == (0.25, 0.1)


def test_values_as_the_log_writes_them_are_not_drift(profile):
    frame = rides()
    logged = pd.DataFrame(
        {
            "distance": frame.distance,
            "hour": frame.hour.astype(float),
            "zone": frame.zone.astype("string"),
            "shared": frame.shared.map({True: 1, False: 0}),
            "prediction": frame.prediction,
        }
    )
    assert all(figure["psi"] < 1e-9 for figure in drift(profile, logged, SPEC)["features"].values())


def test_without_rows_or_reference_there_is_no_figure(profile):
    nothing = drift(profile, rides().iloc[:0], SPEC)
    assert nothing["prediction"]["psi"] is None
    assert nothing["features"]["hour"] == {"psi": None, "missing": None, "reference_missing": 0.0}
    assert drift({}, rides(), SPEC)["features"]["hour"]["psi"] is None


@given(
    st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=60),
    st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), min_size=1, max_size=60),
)
def test_psi_is_finite_never_negative_and_zero_against_itself(before, after):
    frame = rides(len(before)).assign(distance=pd.Series(before, dtype=float))
    reference = build_profile(frame, SPEC, frame.prediction)["features"]["distance"]
    assert reference["rows"] == sum(reference["counts"]) + reference["missing"]
    assert psi(reference, frame.distance) == pytest.approx(0)
    found = psi(reference, pd.Series(after, dtype=float))
    assert found is not None
    assert np.isfinite(found)
    assert found >= 0
