"""The canary's gate: it never passes on missing figures, and fails on errors, slowness and strange predictions."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.release.canary import judge_canary
from include.core.release.server_figures import ServerFigures, quantile, shift
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


FINE = [round(0.001 * 10 ** (step / 10), 6) for step in range(41)]


def timed(seconds: Any, bounds: Any = FINE) -> Any:
    """Figures of requests with these durations."""
    whole = figures(len(seconds))
    return ServerFigures(**{**whole.as_dict(), "latency": histogram(seconds, bounds)})


def durations(requests: int, times: float = 1.0, seed: int = 0) -> Any:
    """Lognormal, with a median of 60 ms."""
    return times * 0.06 * np.exp(0.5 * np.random.default_rng(seed).standard_normal(requests))


def test_three_times_slower_fails_where_60_ms_are_usual() -> None:
    """In buckets of 50, 100 and 250 ms, p95 went from 97 to 242 ms: within three times."""
    slow = judge(POLICY, timed(durations(100, 3.0)), timed(durations(900, seed=1)), seconds=5, weight=10)
    assert (slow.answer, "p95 latency is" in slow.reason) == ("fail", True), slow
    same = judge(POLICY, timed(durations(100)), timed(durations(900, seed=1)), seconds=5, weight=10)
    assert same.answer == "pass", same


def test_slow_large_requests_fail_though_most_requests_are_quick() -> None:
    mixed = np.concatenate([durations(900), durations(100, 20.0)])
    verdict = judge(POLICY, timed(mixed), timed(durations(1000, seed=1)), seconds=5)
    assert verdict.answer == "fail", verdict
    few = np.concatenate([durations(980), durations(20, 20.0)])
    verdict = judge(POLICY, timed(few), timed(durations(1000, seed=1)), seconds=5)
    assert (verdict.answer, "p99" in verdict.reason) == ("fail", True), verdict


def test_a_few_slow_requests_are_waited_out() -> None:
    """Six of 100 requests met a busy moment: more requests will say whether that was chance."""
    unlucky = np.concatenate([durations(94), durations(6, 5.0)])
    verdict = judge(POLICY, timed(unlucky), timed(durations(100, seed=1)), seconds=5)
    assert (verdict.answer, "too few requests to say whether that is chance" in verdict.reason) == ("hold", True)
    assert judge(POLICY, timed(unlucky), timed(durations(100, seed=1)), seconds=601).answer == "fail"


def test_servers_with_other_buckets_are_compared_by_those_that_both_have() -> None:
    """Production's server was started before the buckets became finer."""
    coarse = [0.001, 0.01, 0.1, 1.0, 10.0]
    verdict = judge(POLICY, timed(durations(200)), timed(durations(200, seed=1), coarse), seconds=5)
    assert verdict.answer == "pass", verdict
    none = judge(POLICY, timed(durations(200)), timed(durations(200, seed=1), [0.077]), seconds=5)
    assert (none.answer, none.reason) == ("fail", "latency was not measured")


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


def test_one_error_among_few_requests_of_many_rows_is_no_pass() -> None:
    """Whether it is one of five or one of a thousand, nothing can tell yet: the gateway has asked production again."""
    batches = figures(5, errors=1, rows=40_000)
    verdict = judge(POLICY, batches, figures(6, rows=50_000), seconds=5)
    assert verdict.answer == "hold"
    assert "1 of 5 requests were answered with 5xx, and 0 of 6 in production: too few requests" in verdict.reason
    late = judge(POLICY, batches, figures(6, rows=50_000), seconds=601, shadowed=True)
    assert (late.answer, late.reason.endswith("within the step's time limit")) == ("fail", True)


@pytest.mark.parametrize(
    ("requests", "errors", "answer"),
    [
        (100, 0, "pass"),
        (100, 1, "hold"),
        (200, 1, "pass"),
        (150, 3, "hold"),
        (150, 12, "fail"),
        (100, 100, "fail"),
        (2000, 10, "pass"),  # 0.5 %
        (1000, 30, "fail"),  # 3 %
    ],
)
def test_errors_are_judged_once_they_can_be(requests: int, errors: int, answer: str) -> None:
    """Two errors of the first 100 requests once rolled back every fifth canary with 0.5 % errors."""
    verdict = judge(POLICY, figures(requests, errors=errors), figures(requests + errors), seconds=5)
    assert verdict.answer == answer, verdict


def test_productions_own_errors_count() -> None:
    """2 of 100 beside production's 45 of 900 once failed."""
    assert judge(POLICY, figures(100, errors=2), figures(900, errors=45), seconds=5, weight=10).answer == "pass"
    sick = judge(POLICY, figures(1000, errors=50), figures(1050, errors=52), seconds=5)
    assert sick.answer == "pass", "as sick as production"
    worse = judge(POLICY, figures(1000, errors=150), figures(1150, errors=57), seconds=5)
    assert worse.answer == "fail"


def test_errors_without_any_request_to_production_are_judged_by_the_limit_alone() -> None:
    assert judge(POLICY, figures(20, errors=20), figures(0), seconds=5).answer == "fail"
    assert judge(POLICY, figures(200, errors=100), None, seconds=5, weight=100).answer == "fail"
    assert judge(POLICY, figures(200), None, seconds=5, weight=100).answer == "pass"


@pytest.mark.parametrize(("limit", "answer"), [(0.0, "fail"), (1.0, "pass")])
def test_a_limit_of_no_errors_and_one_of_all_are_meant(limit: float, answer: str) -> None:
    policy = POLICY.model_copy(update={"error_rate_at_most": limit})
    assert judge(policy, figures(200, errors=200), figures(400), seconds=5).answer == answer


@given(st.integers(0, 400), st.integers(0, 400), st.integers(1, 400), st.integers(1, 4000))
def test_no_errors_of_production_ever_fail_a_canary_that_has_fewer(
    errors: int, theirs: int, requests: int, production: int
) -> None:
    errors, theirs = min(errors, requests), min(theirs, production)
    verdict = judge(POLICY, figures(requests, errors=errors), figures(production, errors=theirs), seconds=5)
    if errors * production <= theirs * requests:
        assert verdict.answer != "fail", verdict


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
