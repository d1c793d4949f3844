"""The canary's gate: it never passes on missing figures, and fails on errors, slowness and strange predictions."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.release.canary import ServerFigures, judge_canary, quantile, shift
from include.core.spec import Canary

POLICY = Canary(requests_at_least=100, step_timeout_minutes=10)


def judge(policy: Canary, candidate: Any, champion: Any, *, weight: int = 50, **more: Any) -> Any:
    return judge_canary(policy, candidate, champion, weight=weight, **more)


def histogram(values: Any, bounds: Any) -> Any:
    counts = {str(bound): float((np.asarray(values) <= bound).sum()) for bound in bounds}
    return counts | {"+Inf": float(len(values))}


def figures(
    requests: Any = 200,
    errors: Any = 0,
    seconds: Any = 0.01,
    predictions: Any = (0.2, 0.4, 0.6),
    started: Any = 1.0,
    refused: int = 0,
    rows: int = 0,
) -> Any:
    return ServerFigures(
        requests,
        errors,
        histogram([seconds] * requests, [0.005, 0.02, 0.1, 0.5, 2.5]),
        histogram(list(predictions) * requests, [0.1, 0.3, 0.5, 0.7, 0.9]),
        started,
        refused,
        rows,
    )


def test_a_canary_like_production_passes() -> None:
    assert judge(POLICY, figures(), figures(), seconds=5).answer == "pass"


def test_too_few_requests_hold_and_fail_when_the_time_is_up() -> None:
    few = figures(requests=99)
    assert judge(POLICY, few, figures(), seconds=5).answer == "hold"
    assert judge(POLICY, few, figures(), seconds=601).answer == "fail"


def test_a_passed_replay_stands_for_traffic_that_does_not_come_and_for_nothing_else() -> None:
    def judged(candidate: Any, seconds: float = 601) -> Any:
        return judge(POLICY, candidate, figures(requests=0), seconds=seconds, shadowed=True)

    verdict = judged(figures(requests=3))
    assert (verdict.answer, "the replay of logged requests passed instead" in verdict.reason) == ("pass", True)
    assert judged(figures(requests=3), seconds=5).answer == "hold", "traffic may still come"
    assert judged(figures(requests=3, errors=3)).answer == "fail"
    slow = judge(POLICY, figures(seconds=2.0), figures(), seconds=601, shadowed=True)
    assert slow.answer == "fail", "with enough traffic, the traffic is judged"


def test_too_few_requests_on_production_hold_as_well() -> None:
    assert judge(POLICY, figures(), figures(requests=3), seconds=5).answer == "hold"


def test_errors_fail_even_before_there_are_enough_requests() -> None:
    verdict = judge(POLICY, figures(requests=20, errors=20), figures(), seconds=1)
    assert verdict.answer == "fail"
    assert "5xx" in verdict.reason


def test_a_slow_canary_fails() -> None:
    assert judge(POLICY, figures(seconds=0.4), figures(), seconds=5).answer == "fail"


def test_a_restarted_canary_fails() -> None:
    assert judge(POLICY, figures(), figures(), seconds=5, restarted=True).answer == "fail"


def test_predictions_far_from_productions_fail() -> None:
    assert judge(POLICY, figures(predictions=[0.95]), figures(predictions=[0.05]), seconds=5).answer == "fail"


@given(st.sampled_from(["latency", "predictions"]), st.booleans())
def test_a_missing_measurement_is_never_a_pass(missing: Any, of_candidate: Any) -> None:
    whole = figures()
    lame = ServerFigures(**{**whole.as_dict(), missing: {}})
    pair = (lame, whole) if of_candidate else (whole, lame)
    assert judge(POLICY, *pair, seconds=5).answer == "fail"


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


def test_few_requests_of_many_rows_are_enough() -> None:
    """A batch client: 5 requests of 10,000 rows."""
    assert judge(POLICY, figures(5, rows=50_000), figures(5, rows=50_000), seconds=5).answer == "pass"
    assert judge(POLICY, figures(5, rows=50_000), figures(200), seconds=5, weight=2).answer == "pass"
    assert judge(POLICY, figures(5, rows=50_000), figures(1, rows=9_999), seconds=5).answer == "hold"
    assert judge(POLICY, figures(1, rows=9_999), figures(5, rows=50_000), seconds=601).answer == "fail"


def test_one_error_among_few_requests_of_many_rows_is_too_many() -> None:
    verdict = judge(POLICY, figures(5, errors=1, rows=40_000), figures(5, rows=50_000), seconds=5)
    assert verdict.answer == "fail"
    assert "5xx" in verdict.reason


@pytest.mark.parametrize(
    ("refused", "theirs", "answer"),
    [
        (200, 0, "fail"),  # clients lack a feature that only the candidate needs
        (40, 0, "fail"),
        (4, 0, "pass"),
        (100, 100, "hold"),  # clients send nonsense to both
        (90, 80, "pass"),  # chance
    ],
)
def test_refused_requests_are_judged_against_productions(refused: int, theirs: int, answer: str) -> None:
    canary, production = figures(200, refused=refused), figures(200, refused=theirs)
    if refused == theirs == 100:
        canary, production = figures(150, refused=100), figures(150, refused=100)
    verdict = judge(POLICY, canary, production, seconds=5)
    assert verdict.answer == answer, verdict
    if answer == "fail":
        assert "were refused (4xx), against" in verdict.reason


def test_refused_requests_do_not_count_towards_enough() -> None:
    assert judge(POLICY, figures(150, refused=60), figures(150, refused=60), seconds=5).answer == "hold"


def test_refusals_of_a_first_release_are_no_fault_of_it() -> None:
    assert judge(POLICY, figures(300, refused=150), None, seconds=5).answer == "pass"


def test_a_baseline_of_an_earlier_release_of_evergreen_is_read() -> None:
    values = {name: value for name, value in figures().as_dict().items() if name not in ("refused", "rows")}
    assert ServerFigures.from_dict(values) == figures()


@pytest.mark.parametrize(
    ("weight", "reached", "theirs", "answer"),
    [
        (50, 120, 680, "hold"),  # 400 were its share: production answered 280 of them
        (50, 380, 420, "pass"),
        (10, 100, 900, "pass"),
        (10, 100, 5000, "hold"),
        (90, 150, 150, "pass"),  # more than half of its share
        (90, 120, 400, "hold"),
    ],
)
def test_a_canary_that_traffic_does_not_reach_is_not_passed(
    weight: int, reached: int, theirs: int, answer: str
) -> None:
    """The gateway asks production when the canary does not respond: no counter of the canary shows these requests."""

    def judged(seconds: float) -> Any:
        return judge(
            POLICY, figures(requests=reached), figures(requests=theirs), seconds=seconds, weight=weight, shadowed=True
        )

    assert judged(5).answer == answer
    late = judged(601)
    assert late.answer == ("fail" if answer == "hold" else "pass"), "a replay says nothing about the way to the server"
    if answer == "hold":
        assert f"{reached} requests reached the canary, of about {weight * (reached + theirs) // 100}" in late.reason
        assert late.signals["expected_requests"] == pytest.approx(weight * (reached + theirs) / 100)


def test_few_requests_are_not_judged_by_their_share() -> None:
    """Two requests where four were expected are chance; the rows are enough."""
    batches = figures(requests=2, rows=20_000)
    assert judge(POLICY, batches, figures(requests=6, rows=60_000), seconds=5, weight=50).answer == "pass"
