"""What a version must show in the test environment."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.release.verification import LoadTest, judge_verification
from include.core.spec import Deployment

LIMITS = Deployment(golden_tolerance=1e-6, latency_p95_ms=100)
FAST, SLOW = LoadTest([0.01] * 20, []), LoadTest([0.01] * 10 + [0.2] * 10, [])
RECORDED = [0.25, 0.5, 0.75]


def test_the_same_predictions_in_time_pass_with_the_figures() -> None:
    verdict = judge_verification(LIMITS, RECORDED, RECORDED, FAST, FAST)
    assert verdict.passed
    assert verdict.signals == {
        "golden": 3,
        "largest_difference": 0.0,
        "p95_ms": pytest.approx(10),
        "load_p95_ms": pytest.approx(10),
        "failed_requests": 0,
    }


@given(place=st.integers(0, 2), by=st.floats(2e-6, 1))
def test_one_prediction_that_differs_by_more_than_the_tolerance_fails(place: Any, by: Any) -> None:
    predicted = [value + by * (number == place) for number, value in enumerate(RECORDED)]
    verdict = judge_verification(LIMITS, predicted, RECORDED, FAST, FAST)
    assert (verdict.answer, verdict.signals["largest_difference"]) == ("fail", pytest.approx(by, abs=1e-9))


@pytest.mark.parametrize(("by", "answer"), [(1e-8, "pass"), (1e-5, "fail")])
def test_large_predictions_may_differ_in_proportion(by: float, answer: str) -> None:
    """Before, a price of 1e10 that differed in the last digit of a float was refused."""
    recorded = [1e10, -3e10, 5e10]
    predicted = [value * (1 + by) for value in recorded]
    assert judge_verification(LIMITS, predicted, recorded, FAST, FAST).answer == answer


@pytest.mark.parametrize("place", range(3))
def test_a_prediction_that_is_no_number_fails_wherever_it_stands(place: Any) -> None:
    """Before, NaN anywhere but in the first place was lost in the largest difference, and passed."""
    predicted = [math.nan if number == place else value for number, value in enumerate(RECORDED)]
    assert judge_verification(LIMITS, predicted, RECORDED, FAST, FAST).answer == "fail"


@pytest.mark.parametrize("where", ["alone", "loaded"])
def test_a_single_failed_request_fails_and_is_quoted(where: str) -> None:
    loads = {"alone": FAST, "loaded": FAST} | {where: LoadTest([0.01] * 19, ["503: busy"])}
    verdict = judge_verification(LIMITS, RECORDED, RECORDED, loads["alone"], loads["loaded"])
    assert verdict.answer == "fail"
    assert "503: busy" in verdict.reason


def test_latency_is_judged_without_load_and_reported_with_it() -> None:
    assert (
        judge_verification(LIMITS, RECORDED, RECORDED, SLOW, FAST).reason
        == "p95 latency is 200 ms, above the budget of 100 ms"
    )
    assert judge_verification(LIMITS, RECORDED, RECORDED, FAST, SLOW).passed


def test_what_was_not_measured_is_not_passed() -> None:
    nothing = LoadTest([], [])
    assert judge_verification(LIMITS, [], [], FAST, FAST).answer == "fail"
    assert judge_verification(LIMITS, RECORDED, RECORDED, nothing, FAST).answer == "fail"


def test_predictions_that_lack_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="2 predictions for 3 golden examples"):
        judge_verification(LIMITS, RECORDED[:2], RECORDED, FAST, FAST)
