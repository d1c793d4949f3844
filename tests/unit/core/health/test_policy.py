"""The retraining policy: only what is known and confirmed starts a retraining, once, within cooldown and budget."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.health.policy import evaluate_policy, replay
from include.core.health.record import HealthRow
from include.core.spec import ModelSpec
from include.core.windows import windows_before
from tests.support.health_rows import health_row as row
from tests.support.health_rows import incident
from tests.support.specs import model_spec

WINDOWS = windows_before("2014-12", "month", 24)


def spec_with(*, metric: str = "roc_auc", **degradation: Any) -> ModelSpec:
    return model_spec(
        task="regression" if metric == "mae" else "binary_classification",
        metrics={"primary": metric},
        monitoring={"rows_at_least": 100},
        degradation={"windows": 3, "breaches": 2, **degradation},
    )


SPEC = spec_with()


GOOD, BAD = 0.79, 0.7


def history(*values: float | None, **more: Any) -> list[HealthRow]:
    return [row(window, value, **more) for window, value in zip(WINDOWS, values, strict=False)]


def answer(rows: Any, incidents: Any = (), spec: ModelSpec = SPEC, **more: Any) -> Any:
    decision = evaluate_policy(spec, rows, [incident(window) for window in incidents], **more)
    assert (decision.incident is not None) == (decision.verdict.answer == "fail")
    return decision.verdict.answer


def test_two_of_three_windows_beyond_the_drop_open_an_incident_named_for_the_newest() -> None:
    decision = evaluate_policy(SPEC, history(BAD, GOOD, BAD), [])
    assert decision.verdict.answer == "fail"
    assert decision.incident == "late-2013-03"
    assert decision.verdict.signals["beyond"] == ["2013-01", "2013-03"]
    assert "beyond the allowed drop of 0.05 in 2 of the newest 3 windows" in str(decision.verdict)


def test_a_healthy_newest_window_passes_whatever_was_before() -> None:
    assert answer(history(BAD, BAD, GOOD)) == "pass"


def test_one_bad_window_is_not_confirmed() -> None:
    assert answer(history(GOOD, GOOD, BAD)) == "hold"


def test_no_history_holds() -> None:
    assert answer([]) == "hold"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "partial"}, "is partial"),
        ({"status": "waiting", "truth_problem": "truth of window 2013-03 has not arrived"}, "has not arrived"),
        ({"status": "empty"}, "is empty"),
        ({"n": 99}, "99 predictions with ground truth; 100 are required"),
        ({"value": None}, "has no roc_auc"),
        ({"reference": {}}, "no roc_auc on its holdout"),
    ],
)
def test_a_missing_newest_window_holds_and_says_why(changes: Any, reason: str) -> None:
    value = changes.pop("value", BAD)
    decision = evaluate_policy(SPEC, [*history(BAD, BAD), row(WINDOWS[2], value, **changes)], [])
    assert decision.verdict.answer == "hold"
    assert reason in decision.verdict.reason


def test_missing_windows_in_between_are_neither_breach_nor_health() -> None:
    assert answer([row(WINDOWS[0], BAD), row(WINDOWS[1], BAD, status="partial"), row(WINDOWS[2], BAD)]) == "fail"
    assert answer([row(WINDOWS[1], BAD, n=5), row(WINDOWS[2], BAD)]) == "hold"


def test_a_gap_in_time_is_missing_too() -> None:
    assert answer([row(WINDOWS[0], BAD), row(WINDOWS[5], BAD)]) == "hold"


def test_breaches_of_an_earlier_version_do_not_count_against_its_successor() -> None:
    assert answer([*history(BAD, BAD), row(WINDOWS[2], BAD, version="2")]) == "hold"


def test_a_release_that_is_not_measured_yet_holds() -> None:
    assert answer(history(BAD, BAD), live_version="2") == "hold"
    assert answer(history(BAD, BAD), live_version="1") == "fail"
    assert answer([*history(BAD, BAD), row(WINDOWS[2], None, version="2", status="waiting", due=False)]) == "hold"


def test_a_window_whose_truth_is_not_due_does_not_stop_the_ones_before_from_being_judged() -> None:
    assert answer([*history(BAD, BAD), row(WINDOWS[2], None, status="waiting", due=False)]) == "fail"
    assert answer([*history(BAD, BAD), row(WINDOWS[2], None, status="waiting", due=True)]) == "hold"


def test_an_incident_cools_down_for_the_given_windows() -> None:
    assert answer(history(BAD, BAD, BAD), [WINDOWS[1]]) == "hold"
    assert answer(history(BAD, BAD, BAD, BAD), [WINDOWS[1]]) == "fail"
    assert answer(history(BAD, BAD, BAD), [WINDOWS[1]], spec_with(cooldown_windows=0)) == "fail"


def test_the_same_window_gives_the_same_incident_again() -> None:
    decision = evaluate_policy(SPEC, history(BAD, BAD), [incident(WINDOWS[1])])
    assert decision.incident == "late-2013-02"


def test_a_spent_budget_holds_and_asks_for_a_person() -> None:
    spec = spec_with(budget=2, budget_windows=6)
    decision = evaluate_policy(spec, history(*[BAD] * 6), [incident(WINDOWS[1]), incident(WINDOWS[3])])
    assert decision.verdict.answer == "hold"
    assert "budget" in decision.verdict.reason
    assert answer(history(*[BAD] * 8), [WINDOWS[1], WINDOWS[3]], spec) == "fail"
    assert answer(history(BAD, BAD), spec=spec_with(budget=0)) == "hold"


def test_lower_is_better_metrics_are_worse_when_they_rise() -> None:
    spec = spec_with(metric="mae")
    assert answer(history(0.9, 0.9, metric="mae"), spec=spec) == "fail"
    assert answer(history(0.1, 0.1, metric="mae"), spec=spec) == "pass"


values = st.one_of(st.none(), st.floats(0.5, 0.9))
rows = st.builds(
    lambda value, version, status, n, due: {"value": value, "version": version, "status": status, "n": n, "due": due},
    values,
    st.sampled_from(["1", "1", "1", "2"]),
    st.sampled_from(["complete", "complete", "complete", "partial", "waiting", "empty"]),
    st.sampled_from([500, 500, 99]),
    st.booleans(),
)
histories = st.lists(st.one_of(st.none(), rows), max_size=24).map(
    lambda found: [row(window, **values) for window, values in zip(WINDOWS, found, strict=False) if values]
)
policies = st.builds(
    lambda windows, breaches, cooldown, budget, span: spec_with(
        windows=windows,
        breaches=min(breaches, windows),
        cooldown_windows=cooldown,
        budget=budget,
        budget_windows=span,
    ),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(1, 12),
)


@given(policies, histories)
def test_replay_never_opens_two_incidents_within_a_cooldown_nor_more_than_the_budget(
    spec: ModelSpec, past: Any
) -> None:
    opened = [WINDOWS.index(one.window) for one in replay(spec, past)]
    policy = spec.degradation
    assert all(later - earlier > policy.cooldown_windows for earlier, later in itertools.pairwise(opened))
    for last in opened:
        assert sum(last - policy.budget_windows < index <= last for index in opened) <= policy.budget


@given(policies, histories)
def test_missing_windows_alone_never_trigger(spec: ModelSpec, past: Any) -> None:
    missing = [replace(r, status="partial") for r in past]
    assert replay(spec, missing) == []


@given(policies, histories)
def test_a_breach_that_goes_missing_never_adds_an_incident_to_the_newest_window(spec: ModelSpec, past: Any) -> None:
    before = evaluate_policy(spec, past, []).verdict.answer
    for index in range(len(past)):
        fewer = [*past[:index], replace(past[index], status="waiting", due=True), *past[index + 1 :]]
        if before != "fail":
            decision = evaluate_policy(spec, fewer, [])
            assert decision.verdict.answer != "fail" or decision.window != past[-1].window


@given(policies, histories)
def test_making_the_newest_window_healthy_never_triggers(spec: ModelSpec, past: Any) -> None:
    """As good as the best of them: earlier windows may have set the reference higher than the holdout did."""
    best = max([0.8, *(one.live_figure("roc_auc").value or 0.0 for one in past)])
    healed = [*past, row(WINDOWS[23], best)] if not past or past[-1].window < WINDOWS[23] else past
    healed = [*healed[:-1], row(healed[-1].window, best)]
    assert evaluate_policy(spec, healed, []).verdict.answer == "pass"


@given(policies, histories, st.lists(st.sampled_from(WINDOWS), max_size=4))
def test_more_incidents_never_turn_a_hold_into_a_retraining(spec: ModelSpec, past: Any, incidents: Any) -> None:
    known = [incident(window) for window in incidents]
    if evaluate_policy(spec, past, []).verdict.answer != "fail":
        assert evaluate_policy(spec, past, known).verdict.answer != "fail"


def test_how_much_worse_the_window_was_is_known_where_it_can_be_judged() -> None:
    assert evaluate_policy(SPEC, history(BAD), []).worse_by == pytest.approx(0.1)
    assert evaluate_policy(SPEC, history(GOOD), []).worse_by == pytest.approx(0.01)
    assert evaluate_policy(SPEC, history(BAD, n=99), []).worse_by is None


@pytest.mark.parametrize(
    ("drop", "value", "answer"),
    [
        ("20%", 0.65, "pass"),
        ("20%", 0.63, "fail"),
        ("12.5 %", 0.69, "fail"),
        (0.05, 0.74, "fail"),
        (0.05, 0.76, "pass"),
    ],
)
def test_a_drop_may_be_a_percentage_of_the_reference(drop: Any, value: float, answer: str) -> None:
    """The reference is 0.8."""
    spec = model_spec(degradation={"drop": drop, "windows": 1, "breaches": 1})
    decision = evaluate_policy(spec, [row("2013-05", value)], [])
    assert decision.verdict.answer == answer
    assert answer == "pass" or f"allowed drop of {drop}" in decision.verdict.reason


@pytest.mark.parametrize("drop", [0, -1, "0%", "0.00 %", "-5%", "twenty", "%"])
def test_a_drop_that_is_none_is_refused(drop: Any) -> None:
    with pytest.raises(ValueError, match="drop"):
        model_spec(degradation={"drop": drop})
