"""How a model is doing: the state that lists show, what an incident led to, and how a rollout ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from include.core.candidate import CandidateRecord
from include.core.health.record import Incident
from include.core.health.summary import WindowSummary
from include.core.overview import incident_story, overview, rollout_stories, within_allowed
from include.core.release.release import RecordedRelease, Release
from include.core.release.rollout import Rollout
from include.core.verdict import Verdict
from tests.support.health_rows import health_row
from tests.support.specs import model_spec

SPEC = model_spec(monitoring={"rows_at_least": 100})
PRICES = model_spec(
    name="fares", task="regression", target="fare", degradation={"drop": "20%"}, monitoring={"window": "week"}
)
LIVE = Release("late", "production").promote("1", "1 promoted by first")


def window(key: str, value: float | None, **changes: Any) -> WindowSummary:
    """A complete window with this figure; 0.8 on the holdout, 500 rows."""
    return replace(WindowSummary.of(health_row(key, value)), **changes)


def state_of(*windows: WindowSummary, release: Release | None = LIVE, **more: Any) -> tuple[str, str]:
    recorded = RecordedRelease(release, 0.0) if release else None
    found = overview(SPEC, release=recorded, windows=windows, build=None, incident=more.pop("incident", None), **more)
    return found.state, found.sentence


def test_a_model_without_a_release_is_not_deployed() -> None:
    assert state_of(release=None)[0] == "not deployed"
    assert state_of(window("2013-05", 0.5), release=Release("late", "production"))[0] == "not deployed"


def test_the_newest_judged_window_decides() -> None:
    good, bad = window("2013-05", 0.79), window("2013-06", 0.7)
    assert state_of(good)[0] == "healthy"
    assert state_of(good, bad) == ("degraded", "roc_auc of version 1 is beyond the allowed drop in 2013-06")
    assert state_of(bad, window("2013-07", 0.6))[1].endswith("in 2013-07, since 2013-06")
    assert state_of(bad, window("2013-07", 0.8))[0] == "healthy"


def test_a_drop_that_may_be_chance_is_healthy_and_says_so_unless_an_incident_is_open() -> None:
    noisy = window("2013-06", 0.74, error=0.05)
    assert state_of(noisy) == ("healthy", "roc_auc is beyond the allowed drop in 2013-06; that may be chance")
    opened = Incident("late-2013-05", "2013-05", Verdict("fail", "degraded", {"version": "1"}))
    state, sentence = state_of(window("2013-05", 0.74, error=0.05), noisy, incident=opened)
    assert (state, sentence) == ("degraded", "Incident late-2013-05: no later window is within the allowed drop yet")
    of_another = Incident("late-2013-05", "2013-05", Verdict("fail", "degraded", {"version": "0"}))
    assert state_of(noisy, incident=of_another)[0] == "healthy"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": 99}, "Window 2013-05 has 99 predictions with ground truth; 100 are required"),
        ({"status": "waiting"}, "Window 2013-05 is waiting"),
        ({"status": "waiting", "truth_problem": "no file"}, "no file"),
        ({"problem": "disk full"}, "disk full"),
    ],
)
def test_what_is_not_measured_is_never_healthy(changes: dict[str, Any], reason: str) -> None:
    state, sentence = state_of(window("2013-05", 0.9, **changes))
    assert state == "unmeasured"
    assert reason in sentence


def test_an_earlier_versions_windows_say_nothing_about_the_live_one() -> None:
    second = LIVE.promote("2", "2 promoted by second")
    assert state_of(window("2013-05", 0.5), release=second) == ("unmeasured", "Version 2 has not been measured yet")
    assert state_of(window("2013-05", 0.9), release=second)[0] == "unmeasured"


def test_degradation_is_shown_before_a_pause_and_a_rollout() -> None:
    canary = LIVE.begin_canary("2", 10, Rollout("second", "2", lease=0.0), "canary")
    bad = window("2013-05", 0.5)
    assert state_of(bad, release=canary, paused=True)[0] == "degraded"
    assert state_of(window("2013-05", 0.9), release=canary) == ("rolling out", "Version 2 has 10 % of the traffic")
    assert state_of(window("2013-05", 0.9), release=canary, paused=True)[0] == "paused"


def test_relative_drops_and_losses_are_judged_in_their_own_direction() -> None:
    def weekly(value: float) -> WindowSummary:
        return replace(WindowSummary.of(health_row("2013-W20", value, metric="mae")), reference=10.0)

    assert within_allowed(PRICES, weekly(11.9)) is True
    assert within_allowed(PRICES, weekly(12.1)) is False
    assert within_allowed(SPEC, weekly(11.9)) is None, "of another metric"


def test_windows_of_another_grain_are_left_out() -> None:
    found = overview(
        SPEC,
        release=RecordedRelease(LIVE, 0.0),
        windows=[window("2013-06", 0.9), window("2013-W20", 0.1)],
        build=None,
        incident=Incident("late-2013-W20", "2013-W20", Verdict("fail", "degraded")),
    )
    assert [one.window for one in found.windows] == ["2013-06"]
    assert found.incident is None, "the week began in May, and June is healthy"


def candidate(version: str, answer: Any = "pass", incident: str = "late-2013-05") -> CandidateRecord:
    verdict = Verdict(answer, "better by 0.02" if answer == "pass" else "not better")
    return CandidateRecord(
        version, verdict, "c" * 40, "b", "s", "2013-05", f"incident__{incident}", "degraded", incident,
        "roc_auc", 0.8, 0.78, 0.82,
    )  # fmt: skip


OPENED = Incident("late-2013-05", "2013-05", Verdict("fail", "roc_auc is beyond the allowed drop"), 5.0)


@pytest.mark.parametrize(
    ("candidates", "released", "windows", "sentence"),
    [
        ([], [], [], "Its training has not registered a version. No later window is within the allowed drop yet."),
        ([candidate("2", "fail")], [], [], "Version 2 was trained and not promoted: not better. No later"),
        ([candidate("2")], [], [], "Version 2 was trained and promoted, and is not in production. No later"),
        ([candidate("2")], ["2"], [("2013-06", 0.7)], "Version 2 was trained and released. No later"),
        ([candidate("2")], ["2"], [("2013-06", 0.79)], "released. 2013-06 is within the allowed drop again."),
        ([candidate("2", incident="other")], ["2"], [("2013-04", 0.9)], "Its training has not registered a version"),
    ],
)
def test_an_incident_says_what_was_done_and_whether_it_helped(
    candidates: Any, released: list[str], windows: list[tuple[str, float]], sentence: str
) -> None:
    releases = [RecordedRelease(LIVE.promote(version, "promoted"), 9.0) for version in released]
    story = incident_story(SPEC, OPENED, candidates, releases, [window(*one) for one in windows])
    assert sentence in story.sentence


def test_a_rollouts_revisions_belong_to_its_run_and_tell_how_it_ended() -> None:
    canary = LIVE.begin_canary("2", 10, Rollout("second", "2", lease=0.0), "canary of 2 by second")
    further = canary.begin_canary("2", 50, Rollout("second", "2", lease=0.0, step=1), "step 2 of second")
    back = further.abandon("rolled back by second: canary step 2: p95 latency is 900 ms, above the limit of 50 ms")
    third = back.begin_canary("3", 10, Rollout("third", "3", lease=0.0), "canary of 3 by third")
    history = [RecordedRelease(one, float(one.revision)) for one in (LIVE, canary, further, back, third)]
    running, ended = rollout_stories(history)
    assert (running.run, running.sentence) == ("third", "Version 3 has 10 % of the traffic.")
    assert [one.release.revision for one in ended.revisions] == [2, 3, 4]
    assert ended.sentence == (
        "Version 2 was rolled back; version 1 serves. canary step 2: p95 latency is 900 ms, above the limit of 50 ms."
    )
    promoted = RecordedRelease(third.promote("3", "3 promoted by third"), 9.0)
    assert rollout_stories([*history, promoted])[0].sentence == "Version 3 was promoted and has all traffic."


def test_a_rollout_that_takes_over_from_a_dead_one_is_a_rollout_of_its_own() -> None:
    first = LIVE.begin_canary("2", 10, Rollout("dead", "2", lease=0.0), "canary of 2 by dead")
    second = first.begin_canary("3", 10, Rollout("next", "3", lease=0.0), "canary of 3 by next")
    stories = rollout_stories([RecordedRelease(one, 0.0) for one in (LIVE, first, second)])
    assert [(one.run, one.ended) for one in stories] == [("next", False), ("dead", True)]
