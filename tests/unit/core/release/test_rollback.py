"""Rollbacks by hand: to what served before and to nothing else, once a run, and without an unsafe moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.errors import RunRefusedError
from include.core.release.release import RecordedRelease, Release
from include.core.release.rollback import check_target, earlier_releases, has_rolled_back
from include.core.release.rollout import Rollout

VERSIONS = st.sampled_from(["1", "2", "3", "4"])


@st.composite
def histories(draw: st.DrawFn) -> list[RecordedRelease]:
    """What some deployments, canaries that failed, and rollbacks leave behind, oldest first."""
    now = Release("m", "production")
    history: list[RecordedRelease] = []
    for step in range(draw(st.integers(1, 8))):
        version = draw(VERSIONS.filter(now.champion.__ne__ if now.champion else bool))
        run = f"run-{step}"
        made = [now.begin_canary(version, 20, Rollout(run, version, lease=0.0), f"canary of {version} by {run}")]
        end = draw(st.sampled_from(["promote", "abandon", "running"]))
        if end == "promote":
            made.append(made[-1].promote(version, f"{version} promoted by {run}"))
        elif end == "abandon":
            made.append(made[-1].abandon(f"rolled back by {run}"))
        history += [RecordedRelease(release, 100.0 * step + number) for number, release in enumerate(made)]
        now = made[-1]
    return history


@given(histories())
def test_one_can_roll_back_to_every_earlier_champion_and_to_nothing_else(history: list[RecordedRelease]) -> None:
    champions = {each.release.champion for each in history} - {None, history[-1].release.champion}
    earlier = earlier_releases(history)
    assert {release.version for release in earlier} == champions
    assert len(earlier) == len(champions)
    assert all(release.since < release.until for release in earlier)
    assert [release.until for release in earlier] == sorted((each.until for each in earlier), reverse=True)


@given(histories(), VERSIONS)
def test_a_rollback_to_a_version_gives_it_all_traffic_and_keeps_the_last_champion_loaded(
    history: list[RecordedRelease], to: str
) -> None:
    now = history[-1].release
    targets = [release.version for release in earlier_releases(history)]
    if to not in targets and not (now.rollout and to == now.champion):
        with pytest.raises(RunRefusedError, match="parameter 'to'"):
            check_target(to, now, targets)
        return
    target = check_target(to, now, targets)
    loaded = now.load(target, "loaded")
    assert dict(loaded.weights) == dict(now.weights), "loading moves no traffic"
    assert loaded.champion == now.champion
    assert target in loaded.loaded
    after = loaded.roll_back("manual__12", target)
    assert (dict(after.weights), after.champion, after.rollout) == ({target: 100}, target, None)
    assert after.revision > now.revision
    if now.champion != target:
        assert after.standby == ((now.champion,) if now.champion else after.standby)


@given(histories(), VERSIONS)
def test_a_run_rolls_back_once_whatever_was_deployed_since(history: list[RecordedRelease], later: str) -> None:
    assert not has_rolled_back(history, "manual__1")
    now = history[-1].release
    targets = [release.version for release in earlier_releases(history)]
    if not targets:
        return
    back = now.load(targets[0], "loaded").roll_back("manual__1", targets[0])
    assert back.roll_back("manual__1", targets[0]) == back
    since = [*history, RecordedRelease(back, 9000.0), RecordedRelease(back.promote(later, f"{later} promoted"), 9001.0)]
    assert has_rolled_back(since, "manual__1")
    assert not has_rolled_back(since, "manual__")
    assert not has_rolled_back(since, "manual__12")


def test_a_load_that_failed_leaves_the_release_as_it_was() -> None:
    before = Release("m", "production", 3, {"2": 100}, ("1",), "2")
    after = before.load("4", "loaded").unload("4", "could not be loaded")
    assert (after.weights, after.standby, after.champion) == (before.weights, before.standby, before.champion)
    assert before.load("1", "again") == before, "what is on standby is loaded already"


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("7", r"'7' is not an earlier release \(earlier releases: 2, 1\)"),
        ("v2", "'v2' is not an earlier release"),
        ("3", r"'3' is in production already \(earlier releases: 2, 1\)"),
    ],
)
def test_a_target_that_never_served_is_refused_with_those_that_did(to: str, message: str) -> None:
    with pytest.raises(RunRefusedError, match=message):
        check_target(to, Release("m", "production", 1, {"3": 100}, champion="3"), ["2", "1"])


def test_during_a_canary_one_can_roll_back_to_the_champion_which_ends_the_canary() -> None:
    champion = Release("m", "production", 1, {"3": 100}, champion="3")
    canary = champion.begin_canary("4", 20, Rollout("r", "4", lease=0.0), "canary")
    assert check_target("003", canary, ["1"]) == "3"
    assert dict(canary.roll_back("manual__1", "3").weights) == {"3": 100}
