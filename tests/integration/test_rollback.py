"""By hand: rolling back to an earlier release, deploying what promotion refused, and fresh servers."""

from __future__ import annotations

import time

import pytest

from include.adapters.choices_file import read_choices
from include.core.errors import (
    ArtifactError,
    PlatformError,
    RunRefusedError,
)
from include.core.spec import ModelSpec
from include.stages import deployment, rollback
from include.stages.installation import open_installation
from include.stages.reconciler import restart_servers
from tests.support.engines import server_pid
from tests.support.serving import changed, roll_out
from tests.support.traffic import ask, traffic_of
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

GATEWAY_WAITS = 15
"""How long the gateway tries to reach a server (try_duration in include/adapters/serving/gateway.py), in seconds."""


def test_rolling_back_by_hand_is_one_call_and_needs_no_start(live: ModelSpec) -> None:
    with traffic_of(live):
        roll_out(live, "2", "run-2")
    pid = server_pid(live.name, "1")
    rollback.roll_back(open_installation(), live, "back")
    rollback.roll_back(open_installation(), live, "back")  # a retry of the same run does not swing back
    assert ask(live, "after").json()["model_version"] == "1"
    assert server_pid(live.name, "1") == pid
    assert open_installation().registry.alias(live.name, "champion") == "1"


def test_rolling_back_to_a_named_release_starts_it_first_and_no_client_notices(live: ModelSpec) -> None:
    here = open_installation()
    with traffic_of(live) as traffic:
        roll_out(live, "2", "run-2")
        promote_at_once(live, "3", "run-3")
        assert set(here.engine.servers(live.name, "production")) == {"2", "3"}, "version 1 is not loaded any more"
        with pytest.raises(RunRefusedError, match=r"'3' is in production already \(earlier releases: 2, 1\)"):
            rollback.check_rollback(here, live, "back", "3")
        rollback.check_rollback(here, live, "back", "1")
        release = rollback.roll_back(here, live, "back", "1")
        wait_for(lambda: traffic.versions["1"] > 20, what="traffic on version 1")
    assert traffic.failures == []
    assert (release.champion, release.standby) == ("1", ("3",))
    assert release.note == "rolled back to 1 by hand in back"
    assert here.registry.alias(live.name, "champion") == "1"
    assert set(here.engine.servers(live.name, "production")) == {"1", "3"}
    suggested = [text.partition(" · ")[0] for text in read_choices(here.settings.choices, live.name).releases]
    assert suggested == ["3", "2"]


def test_a_retry_does_not_roll_back_again_even_after_another_deployment(live: ModelSpec) -> None:
    here = open_installation()
    promote_at_once(live, "2", "run-2")
    rollback.roll_back(here, live, "back", "1")
    promote_at_once(live, "3", "run-3")
    rollback.check_rollback(here, live, "back", "1")
    assert rollback.roll_back(here, live, "back", "1").champion == "3"
    assert here.store.release(live.name, "production").champion == "3"


def test_a_release_that_can_not_be_started_again_leaves_what_serves_alone(live: ModelSpec) -> None:
    here = open_installation()
    promote_at_once(live, "2", "run-2")
    promote_at_once(live, "3", "run-3")
    path = here.registry.fetch(live.name, "1") / "model.skops"
    whole = path.read_bytes()
    with changed(path, whole[:-1] + bytes([whole[-1] ^ 1])), pytest.raises(ArtifactError, match="damaged"):
        rollback.roll_back(here, live, "back", "1")
    release = here.store.release(live.name, "production")
    assert (release.champion, dict(release.weights), release.standby) == ("3", {"3": 100}, ("2",))
    assert ask(live, "still").json()["model_version"] == "3"
    assert rollback.roll_back(here, live, "back", "1").champion == "1", "once it is repaired, the same run goes on"


def test_a_version_that_never_served_is_no_target(standing: ModelSpec) -> None:
    with pytest.raises(RunRefusedError, match=r"'2' is not an earlier release \(earlier releases: none\)"):
        rollback.roll_back(open_installation(), standing, "back", "2")


def test_a_version_that_promotion_refused_is_deployed_by_force_only_and_its_release_says_so(live: ModelSpec) -> None:
    here = open_installation()
    here.registry.tag_version(live.name, "2", "verdict", "fail")
    here.registry.tag_version(live.name, "2", "verdict_reason", "worse by 0.02")
    with pytest.raises(RunRefusedError, match=r"version 2 did not pass promotion \(fail: worse by 0.02\)"):
        deployment.choose_version(here, live, requested="2")
    choice = deployment.choose_version(here, live, requested="2", force=True)
    deployment.start_canary(here, live, "2", "run-2", overridden=choice.overridden)
    release = deployment.promote(here, live, "2", "run-2", overridden=choice.overridden)
    assert release.note == "2 promoted by run-2, although promotion refused it (fail: worse by 0.02)"
    noted = [each.release.note for each in here.store.release_history(live.name)]
    assert sum("although promotion refused it" in note for note in noted) == 2
    assert deployment.choose_version(here, live, requested="2").already_serves, "it is in production already"


def promote_at_once(spec: ModelSpec, version: str, run: str) -> None:
    """Deploy without waiting for the canary's requests."""
    deployment.start_canary(open_installation(), spec, version, run)
    deployment.promote(open_installation(), spec, version, run)


def test_a_restart_starts_a_fresh_server_and_loses_no_request_and_deploying_again_starts_none(live: ModelSpec) -> None:
    """The runbook of ServingSaturated once said that the same version, deployed again, gets a fresh server."""
    here, before = open_installation(), server_pid(live.name, "1")
    assert deployment.choose_version(here, live, requested="1").already_serves
    assert server_pid(live.name, "1") == before
    more = live.deployment.model_copy(update={"memory_mb": live.deployment.memory_mb + 77})
    with traffic_of(live) as traffic:
        wait_for(lambda: len(traffic.answered) > 5, what="traffic")
        began = time.monotonic()
        assert restart_servers(here, live.model_copy(update={"deployment": more})) == ["1"]
        seconds, answered = time.monotonic() - began, len(traffic.answered)
        wait_for(lambda: len(traffic.answered) > answered + 5, what="traffic on the fresh server")
    assert traffic.failures == [] or seconds > GATEWAY_WAITS, "requests wait for the fresh server at the gateway"
    assert server_pid(live.name, "1") not in (0, before)
    assert dict(here.store.release(live.name, "production").weights) == {"1": 100}


def test_nothing_is_restarted_where_nothing_serves_or_while_a_canary_runs(standing: ModelSpec) -> None:
    """A canary whose server restarts has failed."""
    here = open_installation()
    with pytest.raises(PlatformError, match="nothing is deployed"):
        restart_servers(here, standing.model_copy(update={"name": "unreleased"}))
    deployment.start_canary(here, standing, "2", "run-2")
    try:
        with pytest.raises(PlatformError, match="run run-2 is deploying"):
            restart_servers(here, standing)
    finally:
        deployment.settle(here, standing, "run-2")
