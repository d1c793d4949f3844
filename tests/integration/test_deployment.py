"""Deployment on real servers behind a real gateway: gates fail closed, clients see no failure, crashes are finished.

supervisord, Caddy and MLflow's registry are real, and so is the model's environment; only Airflow is left out, since
each of its tasks makes one of the calls made here.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
import requests

from include.adapters.engines.scrape_targets import targets_file
from include.adapters.registry import FILES_TAG, Registry
from include.adapters.serving.inference_client import InferenceClient
from include.adapters.serving.inference_request import inference_inputs
from include.core.errors import (
    ArtifactError,
    DeploymentConflictError,
    GateError,
)
from include.core.release.release import Release
from include.core.spec import ModelSpec
from include.stages import deployment, rollback, verification
from include.stages.installation import open_installation
from include.stages.reconciler import mend_routes, reconcile
from include.stages.upkeep import Upkeep
from tests.support.engines import server_pid
from tests.support.losses import LOSSES, NEED_A_SERVER
from tests.support.serving import Serving, changed, restart, roll_out, with_feature_code
from tests.support.traffic import ask, logged, traffic_of
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_the_first_release_ever_serves_and_is_champion(live: ModelSpec) -> None:
    assert ask(live, "first").json()["model_version"] == "1"
    assert open_installation().registry.alias(live.name, "champion") == "1"
    assert open_installation().store.release(live.name, "production").champion == "1"


def test_requests_a_minute_are_counted_at_the_servers_of_production(
    live: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = open_installation()
    monkeypatch.setattr("include.stages.upkeep.load_spec", lambda path: {live.name: live}[path.parent.name])
    monkeypatch.setattr("include.stages.upkeep.TRAFFIC_SECONDS", 0.0)
    monkeypatch.setattr(here.store, "released", lambda: [(live.name, "production")])
    keeper = Upkeep(here)
    assert keeper.round() == []
    assert live.name not in here.store.traffic(), "one look says nothing about a minute"
    with traffic_of(live) as traffic:
        wait_for(lambda: len(traffic.answered) >= 5, what="requests")
        assert keeper.round() == []
    counted = here.store.traffic()[live.name]
    assert counted.requests == counted.rows > 0
    assert counted.current(time.time())


def test_a_good_canary_is_promoted_under_traffic_and_every_answer_is_logged(live: ModelSpec) -> None:
    open_installation().registry.offer(live.name, "2")
    with traffic_of(live) as traffic:
        roll_out(live, "2", "run-2")
        wait_for(lambda: traffic.versions["2"] > 20, what="traffic on version 2")
    assert traffic.failures == []
    assert [open_installation().registry.alias(live.name, each) for each in ("champion", "challenger")] == ["2", None]
    assert set(open_installation().engine.servers(live.name, "production")) == {"1", "2"}, "the old one stays loaded"
    assert open_installation().engine.servers(live.name, "test") == {}, "the test environment is cleared"
    assert set(traffic.answered) <= set(logged(live))


def test_prometheus_is_told_which_servers_there_are(standing: ModelSpec) -> None:
    def listed(environment: Any) -> Any:
        content = json.loads(
            targets_file(open_installation().settings.targets, standing.name, environment).read_text(encoding="utf-8")
        )
        return {entry["labels"]["version"]: entry["targets"] for entry in content}

    production = open_installation().engine.servers(standing.name, "production")["1"].address
    deployment.deploy_to_test(open_installation(), standing, "2", "run-2")
    in_test = open_installation().engine.servers(standing.name, "test")["2"].address
    assert (listed("production"), listed("test")) == ({"1": [production]}, {"2": [in_test]})
    deployment.clear_test(open_installation(), standing, "run-2")
    assert (listed("production"), listed("test")) == ({"1": [production]}, {})


def test_the_version_to_deploy_is_the_requested_the_offered_or_the_newest_promoted_one(standing: ModelSpec) -> None:
    here = open_installation()
    choices = [
        deployment.choose_version(here, standing, requested="1", offered="2"),
        deployment.choose_version(here, standing, offered="2"),
        deployment.choose_version(here, standing),
    ]
    assert [(choice.version, choice.already_serves) for choice in choices] == [("1", True), ("2", False), ("3", False)]
    assert {choice.champion for choice in choices} == {"1"}


def test_a_canary_that_answers_with_errors_is_rolled_back_and_no_client_sees_them(standing: ModelSpec) -> None:
    broken = with_feature_code(standing)
    open_installation().registry.offer(broken.name, "3")
    with traffic_of(broken, distance=666.0) as traffic:
        with pytest.raises(GateError, match="5xx"):
            roll_out(broken, "3", "run-3")
        release = deployment.settle(open_installation(), broken, "run-3")
    assert traffic.failures == [], "the gateway sends a failed request to the other release"
    assert (release.champion, dict(release.weights)) == ("1", {"1": 100})
    assert [open_installation().registry.alias(broken.name, each) for each in ("champion", "challenger")] == ["1", None]


def test_a_version_that_failed_is_no_longer_the_challenger_but_one_that_was_not_tried_is(standing: ModelSpec) -> None:
    here, name = open_installation(), standing.name
    here.registry.offer(name, "3")
    deployment.deploy_to_test(here, standing, "2", "run-2")
    deployment.settle(here, standing, "run-3", "3")
    assert here.registry.alias(name, "challenger") == "3", "run-3 could not try it, as run-2 was deploying"
    deployment.clear_test(here, standing, "run-2")
    deployment.settle(here, standing, "run-3", "3")
    assert here.registry.alias(name, "challenger") is None, "it failed in the test environment, say"
    here.registry.offer(name, "2")
    deployment.start_canary(here, standing, "2", "run-2")
    rollback.roll_back(here, standing, "by hand")
    assert here.registry.alias(name, "challenger") is None


def test_a_canary_without_traffic_holds_and_is_not_promoted(live: ModelSpec) -> None:
    deployment.deploy_to_test(open_installation(), live, "2", "run-2")
    deployment.start_canary(open_installation(), live, "2", "run-2")
    for _ in range(3):
        verdict, finished = deployment.watch_canary(open_installation(), live, "run-2")
        assert (verdict.answer, finished) == ("hold", False)
    hurried = live.model_copy(
        update={
            "deployment": live.deployment.model_copy(
                update={"canary": live.deployment.canary.model_copy(update={"step_timeout_minutes": 1e-6})}
            )
        }
    )
    verdict, finished = deployment.watch_canary(open_installation(), hurried, "run-2")
    assert (verdict.answer, finished) == ("fail", False)


def test_a_canary_goes_on_after_a_restart_of_the_platform_but_not_after_one_of_its_own(live: ModelSpec) -> None:
    def watch() -> tuple[str, str, bool]:
        verdict, finished = deployment.watch_canary(open_installation(), live, "run-2")
        return verdict.answer, verdict.reason, finished

    deployment.start_canary(open_installation(), live, "2", "run-2")
    assert watch()[1].startswith("step 1 begins")
    restart(live, "1", "2")
    assert watch() == ("hold", "all servers were restarted; step 1 begins again", False)
    with traffic_of(live):
        wait_for(lambda: "step 2 begins" in watch()[1], 60, "the next step")
    restart(live, "2")
    answer, reason, _ = watch()
    assert (answer, reason) == ("fail", "the canary's server restarted during the step")


def test_a_version_that_is_too_slow_or_fails_under_load_is_not_verified(live: ModelSpec) -> None:
    broken = with_feature_code(live)
    address = deployment.deploy_to_test(open_installation(), broken, "3", "run-3").address
    hurried = broken.model_copy(
        update={"deployment": broken.deployment.model_copy(update={"latency_p95_ms": 1e-3, "load_requests": 20})}
    )
    verdict = verification.verify(open_installation(), hurried, "3")
    assert (verdict.answer, "budget" in verdict.reason) == ("fail", True)
    token = open_installation().settings.secret("prediction_token")
    found = InferenceClient(broken.name, address, token).time_requests(
        broken, [{"distance": 666.0, "hour": 8.0}], 10, clients=2
    )
    assert len(found.failures) == 10
    assert "devil" in found.failures[0]


def test_a_damaged_artifact_is_refused_and_the_previous_release_stays(standing: ModelSpec) -> None:
    path = open_installation().registry.fetch(standing.name, "2") / "model.skops"
    whole = path.read_bytes()
    with changed(path, whole[:-1] + bytes([whole[-1] ^ 1])), pytest.raises(ArtifactError, match="damaged"):
        deployment.deploy_to_test(open_installation(), standing, "2", "run-2")
    assert ask(standing, "still").json()["model_version"] == "1"


@pytest.mark.parametrize("name", ["metrics.json", "lineage.json", "golden.json"])
def test_a_file_that_gates_go_by_is_refused_when_it_was_changed_or_is_gone(standing: ModelSpec, name: str) -> None:
    path = open_installation().registry.fetch(standing.name, "2") / name
    problem = rf"version 2: {name} has sha256 .* delete {path.parent} to copy it again"
    with changed(path, path.read_bytes() + b" "), pytest.raises(ArtifactError, match=problem):
        deployment.deploy_to_test(open_installation(), standing, "2", "run-2")
    with changed(path, None), pytest.raises(ArtifactError, match=rf"version 2: {name} has sha256 missing"):
        open_installation().registry.fetch(standing.name, "2")
    assert open_installation().registry.fetch(standing.name, "2") == path.parent


def test_a_file_that_was_added_to_a_version_is_refused(standing: ModelSpec) -> None:
    added = open_installation().registry.fetch(standing.name, "2") / "thresholds.json"
    assert not added.exists()
    added.write_text("{}")
    try:
        with pytest.raises(ArtifactError, match=r"thresholds.json was not registered with this version. .* delete"):
            open_installation().registry.fetch(standing.name, "2")
    finally:
        added.unlink()


def test_of_a_version_from_before_its_files_were_recorded_the_model_is_still_held_against_its_hash(
    serving: Serving,
) -> None:
    spec = serving.new_model()
    open_installation().registry.client.delete_model_version_tag(spec.name, "2", FILES_TAG)
    folder = open_installation().settings.artifacts / spec.name / "2"
    with pytest.raises(ArtifactError, match=r"spec.json was not registered with this version"):
        open_installation().registry.fetch(spec.name, "2")
    (folder / "spec.json").unlink()
    assert open_installation().registry.spec(spec, "2").features == spec.features
    (folder / "metrics.json").write_text("{}")
    assert open_installation().registry.fetch(spec.name, "2") == folder
    (folder / "model.skops").write_bytes(b"another")
    with pytest.raises(ArtifactError, match=r"model.skops has sha256"):
        open_installation().registry.fetch(spec.name, "2")


def test_the_server_itself_refuses_an_artifact_with_another_hash(
    live: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = open_installation().registry.fetch(live.name, "2") / "model.onnx"
    monkeypatch.setattr(Registry, "verify", lambda *_: None)  # as if it were changed after it was fetched
    with changed(path, path.read_bytes() + b"x"), pytest.raises(GateError, match="sha256"):
        deployment.deploy_to_test(open_installation(), live, "2", "run-2")
    assert ask(live, "still").json()["model_version"] == "1"


def test_of_two_deployments_at_once_one_wins_and_the_other_says_why(live: ModelSpec) -> None:
    outcomes: dict[str, object] = {}
    barrier = threading.Barrier(2)

    def deploy(run: str, version: str) -> None:
        barrier.wait()
        try:
            outcomes[run] = deployment.start_canary(open_installation(), live, version, run)
        except DeploymentConflictError as error:
            outcomes[run] = error

    threads = [threading.Thread(target=deploy, args=pair) for pair in (("run-a", "2"), ("run-b", "3"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (loser,) = [outcome for outcome in outcomes.values() if isinstance(outcome, DeploymentConflictError)]
    (winner,) = [run for run, outcome in outcomes.items() if isinstance(outcome, Release)]
    assert winner in str(loser)
    rollout = open_installation().store.release(live.name, "production").rollout
    assert rollout is not None and rollout.is_of(winner)


def test_a_rollout_whose_run_died_is_taken_over_once_its_lease_is_over(live: ModelSpec) -> None:
    deployment.start_canary(open_installation(), live, "2", "dead")
    with pytest.raises(DeploymentConflictError, match="dead"):
        deployment.start_canary(open_installation(), live, "3", "next")
    store = open_installation().store
    now = store.release(live.name, "production")
    assert now.rollout is not None
    over = replace(now, revision=now.revision + 1, rollout=replace(now.rollout, lease=0))
    store.swap_release(now, over)
    release = deployment.start_canary(open_installation(), live, "2", "next")
    assert release.rollout is not None and release.rollout.is_of("next")
    assert release.champion == "1"


def test_killing_a_server_under_traffic_loses_no_answer_and_no_log_line(standing: ModelSpec) -> None:
    with traffic_of(standing) as traffic:
        wait_for(lambda: len(traffic.answered) > 50, what="traffic")
        before = server_pid(standing.name, "1")
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: server_pid(standing.name, "1") not in (0, before), what="supervisord to start it again")
        answered = len(traffic.answered)
        wait_for(lambda: len(traffic.answered) > answered + 50, what="answers from the new process")
    assert traffic.failures == [], "the gateway waits for the server to come back"
    assert set(traffic.answered) <= set(logged(standing))


@pytest.mark.parametrize("lost", LOSSES)
def test_whatever_is_lost_one_pass_of_the_reconciler_brings_it_back(standing: ModelSpec, lost: str) -> None:
    LOSSES[lost](standing)
    left = mend_routes(open_installation(), standing, "production")
    assert left is (lost in NEED_A_SERVER)
    assert bool(reconcile(open_installation(), standing, "production")) is (lost in {*NEED_A_SERVER, "alias"})
    assert ask(standing, "back").json()["model_version"] == "1"
    assert open_installation().registry.alias(standing.name, "champion") == "1"
    assert not mend_routes(open_installation(), standing, "production")
    assert reconcile(open_installation(), standing, "production") == [], "nothing is left to do"


def test_a_deployment_killed_between_any_two_steps_is_finished_by_its_retry(live: ModelSpec) -> None:
    """Each write of desired state is tried without what should follow it, as after kill -9, and then again."""
    deployment.deploy_to_test(open_installation(), live, "2", "run-2")
    store = open_installation().store
    now = store.release(live.name, "production")
    rollout = deployment._canary_rollout(live, "run-2", "2", 0)
    open_installation().store.swap_release(
        now, now.begin_canary("2", 20, rollout, "killed before anything was started")
    )
    release = deployment.start_canary(open_installation(), live, "2", "run-2")
    assert set(open_installation().engine.servers(live.name, "production")) == {"1", "2"}
    # killed before routing:
    open_installation().store.swap_release(release, release.promote("2", "2 promoted by run-2"))
    deployment.promote(open_installation(), live, "2", "run-2")
    assert ask(live, "after").json()["model_version"] == "2"
    assert open_installation().registry.alias(live.name, "champion") == "2"


def test_a_wrong_request_is_answered_with_what_is_wrong_with_it(standing: ModelSpec) -> None:
    rows = [{"distance": 500.0, "hour": 8.0, "id": "x", "at": "2013-05-01T08:00:00"}]
    inputs = inference_inputs(standing, rows)
    url = f"http://127.0.0.1:{open_installation().settings.gateway_port}/v2/models/{standing.name}/infer"
    headers = {"Authorization": f"Bearer {open_installation().settings.secret('prediction_token')}"}
    missing = requests.post(url, json={"inputs": inputs[1:]}, headers=headers, timeout=10)
    assert missing.status_code == 400 and "distance" in missing.text
    assert requests.post(url, json={"inputs": inputs}, timeout=10).status_code == 401
