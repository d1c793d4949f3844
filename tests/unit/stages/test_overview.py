"""The state of a model in a few words, from a real store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from include.adapters.store import Store
from include.core.build import judge_build
from include.core.quality.figures import Estimate, QualityFigure
from include.core.release.release import Release
from include.core.release.rollout import Rollout
from include.settings import Settings
from include.stages.installation import Installation
from include.stages.overview import CanaryState, overview
from tests.support.health_rows import health_row, incident
from tests.support.specs import model_spec

SPEC = model_spec()


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    """Only a store: nothing else is asked."""
    nothing = cast(Any, None)
    return Installation(Settings(home=tmp_path), Store(f"sqlite:///{tmp_path / 'store.db'}"), nothing, nothing, nothing)


def released(store: Store, version: str) -> None:
    now = store.release("late", "production")
    store.swap_release(now, now.promote(version, "promoted"))


def test_a_model_without_anything_has_nothing_to_show(place: Installation) -> None:
    seen = overview(place, SPEC)
    assert (seen.live, seen.canary, seen.window, seen.incident, seen.build, seen.problem) == (
        *(None, None, None, None, None),
        "",
    )


def test_live_version_and_canary_with_its_share(place: Installation) -> None:
    released(place.store, "1")
    now = place.store.release("late", "production")
    place.store.swap_release(now, now.begin_canary("2", 10, Rollout("run-2", "2", lease=0.0), "canary"))
    seen = overview(place, SPEC)
    assert (seen.live, seen.canary) == ("1", CanaryState("2", 10, "run-2"))


@pytest.mark.parametrize(
    ("value", "changes", "state", "reason"),
    [
        (0.79, {}, "ok", ""),
        (0.74, {}, "degraded", ""),
        (None, {"status": "waiting", "truth_problem": "no ground truth yet"}, "unknown", "no ground truth yet"),
        (0.79, {"problem": "the disk is full"}, "unknown", "could not be measured: the disk is full"),
    ],
)
def test_the_newest_window_is_judged_as_the_policy_judges_it(
    place: Installation, value: float | None, changes: dict[str, Any], state: str, reason: str
) -> None:
    place.store.record_health("late", health_row("2013-04", 0.8))
    place.store.record_health("late", health_row("2013-05", value, **changes))
    window = overview(place, SPEC).window
    assert window is not None
    assert (window.window, window.metric, window.value, window.state, window.reason) == (
        *("2013-05", "roc_auc"),
        *(value, state, reason),
    )


def test_before_ground_truth_the_estimate_is_shown(place: Installation) -> None:
    row = health_row("2013-05", None, status="waiting")
    estimate = Estimate("cbpe", {"roc_auc": QualityFigure(0.71, n=500)}, {})
    place.store.record_health("late", replace(row, estimate=estimate))
    window = overview(place, SPEC).window
    assert window is not None
    assert (window.value, window.estimate) == (None, 0.71)


def test_an_incident_is_open_until_another_version_is_released(place: Installation) -> None:
    released(place.store, "1")
    place.store.record_health("late", health_row("2013-05", 0.6))
    place.store.record_incident("late", incident("2013-05"))
    assert overview(place, SPEC).incident == "late-2013-05"
    now = place.store.release("late", "production")
    place.store.swap_release(now, replace(now, revision=now.revision + 1, note="the same version again"))
    assert overview(place, SPEC).incident == "late-2013-05", "a revision with the same version changes nothing"
    released(place.store, "2")
    assert overview(place, SPEC).incident is None


def test_an_incident_is_over_when_a_later_window_is_healthy(place: Installation) -> None:
    place.store.record_incident("late", incident("2013-05"))
    place.store.record_health("late", health_row("2013-05", 0.8))
    assert overview(place, SPEC).incident == "late-2013-05", "the window of the incident itself is not a later one"
    place.store.record_health("late", health_row("2013-06", 0.8))
    assert overview(place, SPEC).incident is None


def test_the_newest_build_says_why_it_failed(place: Installation) -> None:
    for commit, answer in (("a" * 40, "pass"), ("b" * 40, "fail")):
        report: Any = {"test": {"answer": answer, "reason": "2 tests failed"}}
        place.store.record_build(judge_build("late", commit, commit[:12], "env", report, "run"))
    build = overview(place, SPEC).build
    assert build is not None
    assert (build.commit, build.status, build.failures) == ("b" * 40, "failed", "test: 2 tests failed.")


def test_it_reads_a_release_without_a_champion(place: Installation) -> None:
    before = Release("late", "production")
    place.store.swap_release(before, before.begin_canary("1", 10, Rollout("r", "1", lease=0.0), "first"))
    seen = overview(place, SPEC)
    assert (seen.live, seen.canary) == (None, CanaryState("1", 100, "r"))
