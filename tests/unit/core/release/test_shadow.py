"""The replay of logged requests: whatever production answered, a new release answers too, and alike."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from include.core.release.shadow import Replay, judge_replay, sample_shift
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
        ({"requests": 5, "failures": ["400"] * 5, "predicted": []}, "fail", "5 of 5 replayed requests failed"),
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


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_the_shift_is_the_kolmogorov_smirnov_distance(first: list[float], second: list[float]) -> None:
    assert sample_shift(first, second) == pytest.approx(ks_2samp(first, second).statistic)
