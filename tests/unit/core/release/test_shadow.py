"""The replay of logged requests: whatever production answered, a new release answers too, and alike."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from include.core.release.shadow import Replay, agreement, judge_replay, sample_shift
from include.core.spec import Deployment

LIMITS = Deployment.model_validate({"canary": {"requests_at_least": 10, "rows_at_least": 1000}})
ALIKE = list(np.linspace(0, 1, 40))


def judged(**changes: Any) -> Any:
    values = {"requests": 20, "failures": [], "recorded": ALIKE, "predicted": ALIKE}
    return judge_replay(LIMITS, Replay(**{**values, **changes}))


def test_a_replay_like_production_passes() -> None:
    verdict = judged()
    assert verdict.passed
    assert verdict.signals["prediction_shift"] == 0


@pytest.mark.parametrize(
    ("changes", "answer", "reason"),
    [
        (
            {"failures": ["the server responded with 500"]},
            "fail",
            "1 of 20 replayed requests failed, the first with",
        ),
        (
            {"requests": 5, "failures": ["400"] * 5, "recorded": [], "predicted": []},
            "fail",
            "5 of 5 replayed requests failed",
        ),
        ({"predicted": [1.0] * 40}, "fail", "differ from production's by 0.9"),
        (
            {"requests": 9, "recorded": ALIKE[:9], "predicted": ALIKE[:9]},
            "hold",
            "fewer than 10 requests, or",
        ),
        ({"requests": 0, "recorded": [], "predicted": []}, "hold", "fewer than 10 requests"),
    ],
)
def test_anything_else_does_not(changes: Any, answer: str, reason: str) -> None:
    verdict = judged(**changes)
    assert (verdict.answer, reason in verdict.reason) == (answer, True), verdict


def test_few_requests_of_many_rows_are_enough() -> None:
    assert judged(requests=2, recorded=ALIKE * 30, predicted=ALIKE * 30).passed


def test_a_few_failures_among_many_requests_are_within_the_limit() -> None:
    assert judged(requests=200, failures=["500"]).passed
    assert judged(requests=200, failures=["500"] * 3).answer == "fail"


RANDOM = np.random.default_rng(7)
PRODUCTION = RANDOM.beta(2, 7, 200)


@pytest.mark.parametrize(
    ("predicted", "reason"),
    [
        (np.full(200, PRODUCTION.mean()), "the same value for all replayed rows"),
        (np.full(200, np.median(PRODUCTION)) + 1e-13 * RANDOM.random(200), "the same value for all replayed rows"),
        (RANDOM.permutation(PRODUCTION), "hardly correlate"),
        (1 - PRODUCTION, "hardly correlate"),
        (PRODUCTION / 2, "shifted by"),
        (PRODUCTION / 2 + PRODUCTION.mean() / 2, "spread"),
        (PRODUCTION + PRODUCTION.std(), "shifted by 1.00 standard deviations"),
    ],
)
def test_what_distributions_do_not_show_the_same_rows_do(predicted: Any, reason: str) -> None:
    """A Kolmogorov-Smirnov distance of at most 0.5 passes most of these."""
    lenient = LIMITS.model_copy(update={"canary": LIMITS.canary.model_copy(update={"prediction_shift_at_most": 1.0})})
    verdict = judge_replay(lenient, Replay(200, [], PRODUCTION.tolist(), predicted.tolist()))
    assert (verdict.answer, reason in verdict.reason) == ("fail", True), verdict


@pytest.mark.parametrize("level", [-3.0, 0.0, 0.22, 1e9])
def test_a_constant_fails_whatever_the_limits_are(level: float) -> None:
    loose = {"correlation_at_least": 0.0, "mean_shift_at_most": 1e12, "spread_ratio_at_most": 1e12}
    canary = {"requests_at_least": 10, "rows_at_least": 1000, "prediction_shift_at_most": 1.0, "predictions": loose}
    limits = Deployment.model_validate({"canary": canary})
    assert judge_replay(limits, Replay(200, [], PRODUCTION.tolist(), [level] * 200)).answer == "fail"


def test_a_model_that_was_trained_again_passes() -> None:
    retrained = 0.6 * PRODUCTION + 0.4 * RANDOM.permutation(PRODUCTION) + 0.2 * PRODUCTION.std()
    assert judge_replay(LIMITS, Replay(200, [], PRODUCTION.tolist(), retrained.tolist())).passed


def test_what_can_not_be_compared_is_held_and_says_how_to_go_on() -> None:
    few = judged(recorded=ALIKE[:19], predicted=ALIKE[:19])
    lenient = {"canary": {"requests_at_least": 10, "prediction_shift_at_most": 1.0}}
    same = judge_replay(Deployment.model_validate(lenient), Replay(40, [], [0.4] * 40, ALIKE))
    assert (same.answer, "are all the same" in same.reason) == ("hold", True), same
    assert "set deployment.canary.predictions.required in model.yaml to false" in same.reason
    assert (few.answer, "fewer than 20 rows" in few.reason) == ("hold", True)
    lenient["canary"]["predictions"] = {"required": False}  # type: ignore[assignment]
    assert judge_replay(Deployment.model_validate(lenient), Replay(40, [], [0.4] * 40, ALIKE)).passed


def test_features_that_the_log_lacks_are_named_when_predictions_differ() -> None:
    verdict = judge_replay(LIMITS, Replay(40, [], ALIKE, [0.5] * 40, missing=["visits"]))
    assert verdict.reason.endswith("; production's log lacks visits")


@given(st.lists(st.floats(-5, 5), min_size=20, max_size=40), st.floats(0.1, 10), st.floats(-5, 5))
def test_agreement_does_not_depend_on_the_unit(values: list[float], unit: float, zero: float) -> None:
    other = [value + 0.1 * place for place, value in enumerate(values)]
    before = agreement(values, other)
    after = agreement([zero + unit * value for value in values], [zero + unit * value for value in other])
    if before and after and np.std(values) > 1e-3:
        assert (after.mean_shift, after.spread_ratio) == pytest.approx(
            (before.mean_shift, before.spread_ratio), rel=1e-3, abs=1e-3
        )


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_the_shift_is_the_kolmogorov_smirnov_distance(first: list[float], second: list[float]) -> None:
    assert sample_shift(first, second) == pytest.approx(ks_2samp(first, second).statistic)
