"""The canary's gate: it never passes on missing figures, and fails on errors, slowness and strange predictions."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.release.canary import ServerFigures, judge_canary, quantile, shift
from include.core.spec import Canary

POLICY = Canary(requests_at_least=100, step_timeout_minutes=10)


def histogram(values: Any, bounds: Any) -> Any:
    counts = {str(bound): float((np.asarray(values) <= bound).sum()) for bound in bounds}
    return counts | {"+Inf": float(len(values))}


def figures(
    requests: Any = 200, errors: Any = 0, seconds: Any = 0.01, predictions: Any = (0.2, 0.4, 0.6), started: Any = 1.0
) -> Any:
    return ServerFigures(
        requests,
        errors,
        histogram([seconds] * requests, [0.005, 0.02, 0.1, 0.5, 2.5]),
        histogram(list(predictions) * requests, [0.1, 0.3, 0.5, 0.7, 0.9]),
        started,
    )


def test_a_canary_like_production_passes() -> None:
    assert judge_canary(POLICY, figures(), figures(), seconds=5).answer == "pass"


def test_too_few_requests_hold_and_fail_when_the_time_is_up() -> None:
    few = figures(requests=99)
    assert judge_canary(POLICY, few, figures(), seconds=5).answer == "hold"
    assert judge_canary(POLICY, few, figures(), seconds=601).answer == "fail"


def test_too_few_requests_on_production_hold_as_well() -> None:
    assert judge_canary(POLICY, figures(), figures(requests=3), seconds=5).answer == "hold"


def test_errors_fail_even_before_there_are_enough_requests() -> None:
    verdict = judge_canary(POLICY, figures(requests=20, errors=20), figures(), seconds=1)
    assert verdict.answer == "fail"
    assert "5xx" in verdict.reason


def test_a_slow_canary_fails() -> None:
    assert judge_canary(POLICY, figures(seconds=0.4), figures(), seconds=5).answer == "fail"


def test_a_restarted_canary_fails() -> None:
    assert judge_canary(POLICY, figures(), figures(), seconds=5, restarted=True).answer == "fail"


def test_predictions_far_from_productions_fail() -> None:
    assert judge_canary(POLICY, figures(predictions=[0.95]), figures(predictions=[0.05]), seconds=5).answer == "fail"


@given(st.sampled_from(["latency", "predictions"]), st.booleans())
def test_a_missing_measurement_is_never_a_pass(missing: Any, of_candidate: Any) -> None:
    whole = figures()
    lame = ServerFigures(**{**whole.as_dict(), missing: {}})
    pair = (lame, whole) if of_candidate else (whole, lame)
    assert judge_canary(POLICY, *pair, seconds=5).answer == "fail"


def test_growth_since_a_baseline_starts_anew_when_the_process_did() -> None:
    before, after = figures(requests=50), figures(requests=80)
    assert after.since(before).requests == 30
    assert figures(requests=7, started=2.0).since(before).requests == 7


def test_quantile_interpolates_as_promql_does() -> None:
    assert quantile({"1": 50, "2": 100, "+Inf": 100}, 0.75) == pytest.approx(1.5)
    assert quantile({}, 0.5) is None
    assert quantile({"1": 0, "+Inf": 0}, 0.5) is None


@given(st.lists(st.floats(0, 1), min_size=30, max_size=200))
def test_the_shift_between_equal_samples_is_zero_and_within_bounds_otherwise(values: Any) -> None:
    bounds = [0.1, 0.25, 0.5, 0.75, 0.9]
    same = histogram(values, bounds)
    assert shift(same, same) == 0
    other = histogram([1 - value for value in values], bounds)
    assert 0 <= shift(same, other) <= 1
    assert shift(same, other) == pytest.approx(shift(other, same))
