"""Desired state and the reconciler's plan: from any observed state, the plan leads to the desired one, safely."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.errors import RunRefusedError
from include.core.release.release import Action, Observed, Release, plan
from include.core.release.rollout import Rollout
from include.core.release.server_figures import ServerFigures

VERSIONS = st.sampled_from(["1", "2", "3"])


@st.composite
def releases(draw: Any) -> Any:
    champion = draw(st.none() | VERSIONS)
    release = Release("m", "production", revision=draw(st.integers(1, 9)), champion=champion)
    release = replace(release, weights={champion: 100} if champion else {})
    candidate = draw(st.none() | VERSIONS.filter(lambda version: version != champion))
    if champion and draw(st.booleans()):
        release = replace(release, standby=(draw(VERSIONS.filter(lambda version: version != champion)),))
    if candidate:
        release = release.begin_canary(candidate, draw(st.integers(1, 100)), Rollout("r", candidate, lease=0.0), "")
    return release


OBSERVED = st.builds(
    Observed,
    servers=st.dictionaries(VERSIONS, st.sampled_from(["ready", "starting", "broken"])),
    weights=st.dictionaries(VERSIONS, st.integers(1, 100)),
    champion=st.none() | VERSIONS,
)


def carry_out(actions: list[Action], observed: Observed) -> Observed:
    """What the world looks like after the actions; asserts that each is safe at its moment."""
    servers, weights, champion = dict(observed.servers), dict(observed.weights), observed.champion
    for action in actions:
        if action.verb == "start":
            servers[action.version] = "starting"
        elif action.verb == "await_ready":
            assert action.version in servers, "waits for a server that was never started"
            servers[action.version] = "ready"
        elif action.verb == "route":
            assert all(servers.get(version) == "ready" for version in action.weights), (
                "routes to a server that is not ready"
            )
            weights = dict(action.weights)
        elif action.verb == "set_champion":
            assert servers.get(str(action.version)) == "ready", "the alias moves before its release serves"
            champion = action.version
        else:
            assert action.version not in weights, "stops a server that still gets traffic"
            del servers[str(action.version)]
    return Observed(servers, weights, champion)


@given(releases(), OBSERVED)
def test_a_plan_leads_to_the_desired_state_without_an_unsafe_moment(desired: Any, observed: Any) -> None:
    after = carry_out(plan(desired, observed), observed)
    assert set(after.servers) == desired.loaded
    assert set(after.servers.values()) <= {"ready"}
    assert after.weights == dict(desired.weights)
    assert desired.champion is None or after.champion == desired.champion


@given(releases(), OBSERVED)
def test_planning_again_after_the_plan_was_carried_out_gives_nothing_to_do(desired: Any, observed: Any) -> None:
    assert plan(desired, carry_out(plan(desired, observed), observed)) == []


@given(releases(), OBSERVED, st.integers(0, 8))
def test_a_crash_after_any_step_is_finished_by_planning_again(desired: Any, observed: Any, steps: Any) -> None:
    crashed = carry_out(plan(desired, observed)[:steps], observed)
    after = carry_out(plan(desired, crashed), crashed)
    assert (set(after.servers), after.weights) == (desired.loaded, dict(desired.weights))


@given(releases())
def test_shares_always_sum_to_a_hundred_or_there_are_none(release: Any) -> None:
    assert sum(release.weights.values()) in (0, 100)
    assert all(share > 0 for share in release.weights.values())


@given(releases())
def test_abandoning_a_canary_gives_all_traffic_back_to_the_champion(release: Any) -> None:
    after = release.abandon("failed")
    assert dict(after.weights) == ({release.champion: 100} if release.champion else {})
    assert after.champion == release.champion
    assert after.rollout is None
    assert after.revision == release.revision + 1


def test_promotion_keeps_the_old_champion_loaded_for_an_instant_rollback() -> None:
    before = Release("m", "production", 3, {"1": 50, "2": 50}, champion="1", rollout=Rollout("r", "2", lease=0.0))
    after = before.promote("2", "better")
    assert (dict(after.weights), after.standby, after.champion) == ({"2": 100}, ("1",), "2")
    back = after.promote("1", "rolled back")
    assert (dict(back.weights), back.standby, back.champion) == ({"1": 100}, ("2",), "1")


def test_the_first_release_ever_gets_all_traffic_at_once() -> None:
    first = Release("m", "production").begin_canary("1", 20, Rollout("r", "1", lease=0.0), "")
    assert dict(first.weights) == {"1": 100}


def test_a_release_survives_the_trip_through_json() -> None:
    counted = ServerFigures(9, 1, {"0.1": 8, "+Inf": 9}, {"0.5": 4, "+Inf": 9}, started=12.5)
    rollout = Rollout("r", "1", lease=20.0, step=1, since=10.0, baseline={"1": counted})
    release = Release("m", "test", 2, {"1": 100}, ("2",), "1", rollout, "note")
    assert Release.from_dict(json.loads(json.dumps(release.as_dict()))) == release
    bare = replace(release, rollout=None, standby=())
    assert Release.from_dict(json.loads(json.dumps(bare.as_dict()))) == bare


def test_a_release_that_was_stored_before_rollouts_had_a_type_is_read() -> None:
    """As version 0.1.0 wrote it: of a test, the owner, the candidate and the lease alone."""
    stored = {"model": "m", "environment": "test", "revision": 3, "weights": {"2": 100}, "standby": [],
              "champion": None, "rollout": {"run": "r", "candidate": "2", "lease": 7.5}, "note": "n"}  # fmt: skip
    assert Release.from_dict(stored).rollout == Rollout("r", "2", lease=7.5)


@given(releases())
def test_a_rollback_by_hand_is_made_once_by_a_run_or_refused_for_want_of_a_release(release: Any) -> None:
    if not release.rollout and not release.standby:
        with pytest.raises(RunRefusedError, match="'rollback': there is no earlier release"):
            release.roll_back("manual__12")
        return
    after = release.roll_back("manual__12")
    assert after.rollout is None
    assert after.champion == (release.champion if release.rollout else release.standby[0])
    assert after.roll_back("manual__12") == after, "a retry must not swing back"


def test_a_rollback_by_another_run_whose_id_begins_alike_is_not_taken_for_its_own() -> None:
    release = Release("m", "production", weights={"1": 100}, champion="1").promote("2", "2 promoted")
    back = release.roll_back("manual__12")
    assert back.champion == "1"
    assert back.roll_back("manual__1").champion == "2"
