"""A window's health counts each thing once and says what is not known."""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.core.drift.profile import build_profile
from include.core.health.record import VersionTraffic
from include.core.health.window import (
    Reference,
    Truth,
    WindowInputs,
    count_once,
    live_version_of,
    measure,
    predictions_before,
)
from include.core.quality.estimation import build_estimator
from include.core.quality.figures import QualityFigure
from tests.support.health_rows import EMPTY
from tests.support.specs import model_spec

SPEC = model_spec(
    truth={"key": "flight", "column": "was_late", "delay_hours": 24},
    metrics={"also": ["brier"], "slices": ["origin"]},
    data={"dependence": "none"},
)
JUNE = datetime(2013, 6, 15)
QUALITY = {"roc_auc": QualityFigure(0.8, 0.7, 0.9, 500)}


def predictions(count: int = 300, version: str = "1", start: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(start)
    return pd.DataFrame(
        {
            "request_id": [f"r{start + n}" for n in range(count)],
            "row": 0,
            "received": np.arange(count) + float(start),
            "version": version,
            "release": "production@1",
            "key": [str(start + n) for n in range(count)],
            "event_time": datetime(2013, 5, 3),
            "prediction": random.random(count),
            "distance": random.normal(0, 1, count),
            "origin": random.choice(["EWR", "JFK"], count),
        }
    )


def truth_of(frame: pd.DataFrame) -> pd.DataFrame:
    late = frame.prediction + np.random.default_rng(0).normal(0, 0.3, len(frame)) > 0.5
    return pd.DataFrame({"flight": frame.key.astype(int), "was_late": late})


def health(
    frame: Any,
    truth: Any,
    *,
    as_of: Any = JUNE,
    quality: Any = QUALITY,
    profile: Any = None,
    estimator: Any = None,
    problem: Any = None,
    **more: Any,
) -> Any:
    reference = Reference(quality, profile, estimator)
    inputs = WindowInputs("2013-05", as_of, frame, Truth(truth, problem), reference, **more)
    row = measure(inputs, SPEC)
    json.dumps(row.as_dict(), allow_nan=False)
    return row


def test_a_whole_window_has_quality_by_version_and_slice_drift_and_reference() -> None:
    frame = pd.concat([predictions(200, "2"), predictions(100, "10", 1000)])
    profile = build_profile(frame, SPEC, frame.prediction)
    row = health(frame, truth_of(frame), profile=profile)
    assert (row.status, row.predictions, row.rows, row.truth_share) == ("complete", 300, 300, 1.0)
    assert (row.versions, row.live_version) == (("2", "10"), "2")
    assert row.by_version["10"]["roc_auc"].n == 100
    assert row.quality["roc_auc"].low < row.quality["roc_auc"].value
    assert set(row.slices) == {"origin=EWR", "origin=JFK"}
    assert row.reference == {"roc_auc": 0.8}
    assert row.drift.drifted == ()
    assert row.service.versions["2"] == VersionTraffic(requests=200, rows=200)


def test_a_row_that_stands_in_two_logs_counts_once_with_the_answer_that_the_client_got() -> None:
    frame = predictions(10)
    repeated = frame.iloc[:3].assign(version="2", received=lambda f: f.received + 100)
    once, repeats = count_once(pd.concat([repeated, frame]))
    assert (len(once), repeats) == (10, 3)
    assert list(once[once.key.isin(["0", "1", "2"])].version) == ["2", "2", "2"]
    assert health(pd.concat([frame, repeated]), truth_of(frame), duplicates=4).service.duplicates == 7


def test_a_request_id_used_for_different_keys_is_not_a_repeat() -> None:
    frame = predictions(10).assign(request_id="1")
    assert count_once(frame)[1] == 0


def test_truth_given_twice_with_different_values_counts_the_last_and_is_reported() -> None:
    frame = predictions(50)
    truth = truth_of(frame)
    flipped = truth.iloc[:5].assign(was_late=lambda f: ~f.was_late)
    row = health(frame, pd.concat([truth, truth, flipped]))
    last = health(frame, pd.concat([flipped, truth.iloc[5:]]))
    assert row.service.truth_conflicts == 5
    assert row.rows == 50
    assert row.quality == last.quality


def test_truth_for_unknown_keys_is_counted_and_changes_nothing() -> None:
    frame = predictions(50)
    truth = truth_of(frame)
    stranger = pd.DataFrame({"flight": [99_999], "was_late": [True]})
    row = health(frame, pd.concat([truth, stranger]))
    assert row.service.truth_unknown == 1
    assert row.quality == health(frame, truth).quality


def test_keys_match_as_text_integers_or_whole_floats() -> None:
    frame = predictions(50)
    truth = truth_of(frame)
    for kind in (str, int, float):
        assert health(frame, truth.assign(flight=truth.flight.astype(kind))).rows == 50


def test_a_window_without_predictions_is_empty() -> None:
    row = health(predictions(1).iloc[:0], truth_of(predictions(5)))
    assert (row.status, row.live_version, row.quality, row.versions) == ("empty", None, {}, ())


@pytest.mark.parametrize("truth", [None, truth_of(predictions(1)).iloc[:0], truth_of(predictions(9, start=5000))])
def test_predictions_without_any_truth_wait(truth: Any) -> None:
    row = health(predictions(20), truth, problem="has not arrived")
    assert (row.status, row.rows, row.truth_problem) == ("waiting", 0, "has not arrived")
    assert row.quality["roc_auc"].value is None


@pytest.mark.parametrize(
    ("known", "as_of", "status", "due"),
    [
        (40, datetime(2013, 5, 20), "partial", False),  # the window is not over
        (40, datetime(2013, 6, 1, 1), "complete", False),  # over, and nothing is missing
        (30, datetime(2013, 6, 1, 1), "partial", False),  # over, more may come within the delay
        (30, datetime(2013, 6, 2), "complete", True),  # the delay has passed and enough has come
        (10, datetime(2013, 6, 2), "partial", True),  # too little has come
    ],
)
def test_status_follows_the_clock_and_the_share_of_truth(known: int, as_of: Any, status: str, due: bool) -> None:
    frame = predictions(40)
    row = health(frame, truth_of(frame).iloc[:known], as_of=as_of)
    assert (row.status, row.due) == (status, due)


def test_a_window_with_one_class_has_no_auc_but_a_brier_score() -> None:
    frame = predictions(40)
    row = health(frame, truth_of(frame).assign(was_late=False))
    assert row.status == "complete"
    assert row.quality["roc_auc"].value is None
    assert row.quality["brier"].value > 0


def test_drift_looks_at_the_live_versions_traffic_and_names_what_drifted() -> None:
    frame = predictions(500)
    profile = build_profile(frame, SPEC, frame.prediction)
    canary = predictions(100, "2", 5000).assign(distance=50.0)
    assert health(pd.concat([frame, canary]), None, profile=profile).drift.drifted == ()
    shifted = frame.assign(distance=frame.distance + 2, prediction=frame.prediction / 2)
    assert health(shifted, None, profile=profile).drift.drifted == ("distance", "prediction")


def test_without_reference_and_profile_nothing_is_made_up() -> None:
    row = health(predictions(50), truth_of(predictions(50)), quality={}, profile=None)
    assert row.reference == {}
    assert row.drift.features["distance"].psi is None


def test_of_versions_with_equal_traffic_the_newest_is_live() -> None:
    assert live_version_of(pd.DataFrame({"version": ["9", "10"]})) == "10"


def test_before_truth_the_live_versions_quality_is_estimated_and_after_it_compared() -> None:
    holdout = predictions(2000, start=9000)
    kept = build_estimator(holdout.assign(late=truth_of(holdout).was_late.to_numpy()), SPEC)
    frame = pd.concat([predictions(400), predictions(100, "2", 1000)])
    before = health(frame, None, estimator=kept)
    assert (before.status, before.estimate.method, before.estimate.truth) == ("waiting", "cbpe", {})
    assert before.estimate.quality["roc_auc"].n == 400, "only the live version's rows"
    after = health(frame, truth_of(frame), estimator=kept)
    assert after.estimate.quality == before.estimate.quality
    assert after.estimate.truth["roc_auc"].value == after.by_version["1"]["roc_auc"].value
    assert (before.estimate.measured_errors, after.estimate.truth["roc_auc"].inside) == ({}, None)


def test_the_errors_of_ten_windows_give_an_estimate_its_interval() -> None:
    holdout = predictions(2000, start=9000)
    kept = build_estimator(holdout.assign(late=truth_of(holdout).was_late.to_numpy()), SPEC)
    frame = predictions(400)
    row = health(frame, truth_of(frame), estimator=kept, estimate_errors={"roc_auc": [0.1] * 11, "brier": [0.1] * 9})
    assert row.estimate.measured_errors == {"roc_auc": 11}
    figure, outcome = row.estimate.figure("roc_auc"), row.estimate.outcome("roc_auc")
    assert (figure.low, figure.high) == (pytest.approx(figure.value - 0.1), pytest.approx(figure.value + 0.1))
    assert (outcome.inside, outcome.low, row.estimate.coverage("roc_auc")) == (True, figure.low, 11 / 12)
    assert (row.estimate.figure("brier").low, row.estimate.outcome("brier").inside) == (None, None)
    assert type(row).from_dict(json.loads(json.dumps(row.as_dict()))) == row


def test_with_part_of_the_truth_the_estimate_is_compared_on_those_rows_alone() -> None:
    frame = predictions(400)
    kept = build_estimator(frame.assign(late=truth_of(frame).was_late.to_numpy()), SPEC)
    row = health(frame, truth_of(frame).iloc[:150], estimator=kept)
    assert row.estimate.quality["brier"].n == 400
    assert row.estimate.truth["brier"].n == row.by_version["1"]["brier"].n == 150


def test_without_an_estimator_nothing_is_estimated() -> None:
    assert health(predictions(50), None).estimate is None


def test_the_number_of_predictions_is_compared_with_earlier_windows_once_the_window_is_over() -> None:
    usual = [300, 310, 290, 305, 295]
    few = health(predictions(30), None, earlier=usual).data_quality
    assert few.findings == (few.row_count.finding,)
    assert few.findings[0].startswith("unusually few predictions: 30;")
    running = health(predictions(30), None, earlier=usual, as_of=datetime(2013, 5, 3)).data_quality
    assert (running.findings, running.row_count.not_judged) == ((), "the window is not over")
    assert health(predictions(0), None, earlier=usual).data_quality.findings[0].startswith("unusually few")


def test_only_windows_before_it_of_the_same_grain_and_with_predictions_are_earlier() -> None:
    def row(window: Any, predictions: Any, grain: Any = "month") -> Any:
        return replace(EMPTY, window=window, predictions=predictions, grain=grain)

    history = [row("2013-02", 5), row("2013-03", 0), row("2013-04", 7), row("2013-04-02", 9, "day"), row("2013-06", 8)]
    assert predictions_before("2013-05", SPEC, history) == [5, 7]


def test_ground_truth_whose_keys_are_written_differently_is_a_finding_and_no_eternal_wait() -> None:
    frame = predictions()
    other = truth_of(frame).assign(flight=[f"F-{key}" for key in frame.key])
    row = measure(WindowInputs("2013-05", JUNE, frame, Truth(other)), SPEC)
    (finding,) = [text for text in row.data_quality.findings if "ground truth" in text]
    assert "0 of 300 predicted keys have ground truth" in finding
    assert "'F-0', 'F-1', 'F-10'" in finding
    assert "'0', '1', '10'" in finding
    assert row.truth_problem == finding


@pytest.mark.parametrize("joined", [4, 30, 300])
def test_ground_truth_of_some_is_no_finding(joined: int) -> None:
    frame = predictions()
    early = truth_of(frame).head(joined)
    others = pd.DataFrame({"flight": range(10_000, 12_000), "was_late": False})
    row = measure(WindowInputs("2013-05", JUNE, frame, Truth(pd.concat([early, others]))), SPEC)
    assert not [text for text in row.data_quality.findings if "ground truth" in text]
    assert row.rows == joined


def test_too_few_keys_to_tell_are_no_finding() -> None:
    frame = predictions(10)
    other = truth_of(frame).assign(flight="x")
    assert measure(WindowInputs("2013-05", JUNE, frame, Truth(other)), SPEC).truth_problem is None
