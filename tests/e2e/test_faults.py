"""What goes wrong in a running platform: each fault is contained, said in words, and finished by the next attempt.

Runs on the platform of the demo, after it, so that there is a champion to lose. Everything is real: Airflow, Git, the
model's environment, its servers and the gateway.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
import requests

from demo import flights_data, repository
from demo.airflow_client import AirflowClient, RunFailedError
from demo.traffic import payload
from include.adapters.spec_file import load_spec
from include.adapters.store import Store
from include.settings import PROJECT
from tests.e2e.conftest import MONTHS
from tests.support.airflow_runs import task_process
from tests.support.running_platform import Platform
from tests.support.traffic import Traffic
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SECONDS = 240.0
USELESS = {"smallest_leaf": 10**6}
"""Parameters with which no tree ever splits: whatever is trained with them is worse than any champion."""
DAMAGES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame | None], str, str]] = {
    "missing": (lambda rows: None, "take_snapshot", "2014-01"),
    "empty": (lambda rows: rows.head(0), "take_snapshot", "no rows"),
    "column": (lambda rows: rows.drop(columns=["carrier"]), "take_snapshot", "carrier"),
    "infinity": (lambda rows: rows.assign(distance=np.inf), "validate_snapshot", "distance"),
    "nothing": (lambda rows: rows.assign(distance=np.nan), "validate_snapshot", "distance"),
    "duplicates": (lambda rows: pd.concat([rows, rows.head(50)]), "validate_snapshot", "unique"),
}
"""What is done to a month of data → the task that must refuse it, and a word of its message."""


@pytest.fixture
def home(platform: Platform) -> Path:
    return platform.settings.home


@pytest.fixture
def store(home: Path, report: dict[str, Any]) -> Store:
    return Store(f"sqlite:///{home / 'evergreen.db'}")


@pytest.fixture
def champion(store: Store) -> str:
    return str(store.release("flights", "production").champion)


@pytest.fixture
def traffic(platform: Platform, home: Path) -> Iterator[Any]:
    """One prediction after another through the gateway; ``failures`` says what clients saw go wrong.

    Of many flights: the predictions of one alone say nothing about how two versions differ.
    """
    spec = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
    flights = flights_data.read_month(flights_data.prepare_year(home / "demo" / "year"), MONTHS[-1]).head(400)
    bodies = itertools.cycle([payload(flights.iloc[at : at + 2], spec, "") for at in range(0, len(flights), 2)])
    url = f"{platform.gateway_url}/v2/models/flights/infer"
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {platform.settings.secret('prediction_token')}"

        def send(identity: str) -> requests.Response:
            return session.post(url, json={**next(bodies), "id": identity}, timeout=60)

        with Traffic(send, pause=0.02) as running:
            yield running


def start(airflow: AirflowClient, story: str, **conf: Any) -> str:
    """Start a run of ``flights.<story>`` by hand; returns its id."""
    return str(airflow.trigger(f"flights.{story}", f"fault-{uuid.uuid4().hex[:8]}", conf, "a test")["dag_run_id"])


def states(airflow: AirflowClient, story: str, run_id: str) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in airflow.tasks(f"flights.{story}", run_id)}


def failure(airflow: AirflowClient, story: str, run_id: str) -> str:
    """Wait for the end of a run that must fail; returns its failed tasks with their logs."""
    with pytest.raises(RunFailedError) as caught:
        airflow.await_end(f"flights.{story}", run_id, SECONDS)
    assert airflow.run(f"flights.{story}", run_id)["state"] == "failed"
    return str(caught.value)


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_data_fails_the_training_at_once_and_says_what_is_wrong(
    airflow: AirflowClient, home: Path, champion: str, store: Store, damage: Any
) -> None:
    change, refusing, word = DAMAGES[damage]
    lake = home / "lake" / "flights" / "training"
    january = pd.read_parquet(lake / "2013-01.parquet")
    rows = change(january.assign(scheduled_departure=january["scheduled_departure"] + pd.Timedelta(days=365)))
    path = lake / "2014-01.parquet"
    if rows is not None:
        rows.to_parquet(path, index=False)
    try:
        run_id = start(airflow, "training", window="2014-01")
        said = failure(airflow, "training", run_id)
    finally:
        path.unlink(missing_ok=True)
    found = states(airflow, "training", run_id)
    assert found[refusing] == "failed"
    assert found["register_candidate"] == "upstream_failed"
    assert word in said
    (refused,) = [task for task in airflow.tasks("flights.training", run_id) if task["task_id"] == refusing]
    assert refused["try_number"] == 1, "the same data would only fail again"
    assert store.release("flights", "production").champion == champion


def test_a_worse_candidate_is_registered_but_never_offered(airflow: AirflowClient, store: Store, champion: str) -> None:
    run_id = start(airflow, "training", parameters=USELESS, reason="a test of the gate")
    airflow.await_end("flights.training", run_id, SECONDS)
    verdict = airflow.result("flights.training", run_id, "compare_with_champion")
    assert verdict["answer"] == "fail"
    assert states(airflow, "training", run_id)["offer_candidate"] == "skipped"
    assert store.release("flights", "production").champion == champion


def test_a_commit_with_a_failing_test_is_no_build_and_trains_nothing(
    airflow: AirflowClient, home: Path, store: Store
) -> None:
    bare = home / "repositories" / "flights.git"
    before = {run["dag_run_id"] for run in airflow.runs("flights.training")}
    text = "def flights("
    broken = {"tests/test_model.py": {text: f"def test_that_fails():\n    assert 1 == 2\n\n\n{text}"}}
    commit = repository.change(bare, "A commit whose test fails", broken)
    run = airflow.await_caused("flights.ci", lambda event: commit in json.dumps(event), SECONDS, commit)
    said = failure(airflow, "ci", run["dag_run_id"])
    assert "test_that_fails" in said
    (build,) = [build for build in store.builds("flights") if build.commit == commit]
    assert build.status == "failed"
    assert {run["dag_run_id"] for run in airflow.runs("flights.training")} == before


def test_a_damaged_artifact_is_not_deployed_and_production_goes_on(
    airflow: AirflowClient, home: Path, store: Store, champion: str, traffic: Traffic
) -> None:
    other = next(str(number) for number in range(1, 10) if str(number) != champion)
    kept = {}
    for path in [*home.glob("mlflow/artifacts/**/model.skops"), *home.glob(f"artifacts/flights/{other}/model.skops")]:
        kept[path] = path.read_bytes()
        path.write_bytes(kept[path][:-1] + bytes([kept[path][-1] ^ 1]))
    try:
        run_id = start(airflow, "deployment", version=other, force=True)
        said = failure(airflow, "deployment", run_id)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert "sha256" in said or "damaged" in said
    found = states(airflow, "deployment", run_id)
    assert found["deploy_to_test"] == "failed"
    assert found["clear_test"] == "success"
    release = store.release("flights", "production")
    assert (release.champion, dict(release.weights), release.rollout) == (champion, {champion: 100}, None)
    assert traffic.failures == []


def test_a_deployment_killed_in_its_canary_goes_on_and_a_rollback_by_hand_returns(
    airflow: AirflowClient, report: dict[str, Any], store: Store, champion: str, traffic: Traffic
) -> None:
    other = next(str(number) for number in range(1, 10) if str(number) != champion)
    run_id = start(airflow, "deployment", version=other, force=True)
    kill_task(airflow, "deployment", run_id, "watch_canary")
    airflow.await_end("flights.deployment", run_id, SECONDS)
    release = store.release("flights", "production")
    assert (release.champion, dict(release.weights), release.rollout) == (other, {other: 100}, None)

    run_id = start(airflow, "deployment", rollback=True)
    airflow.await_end("flights.deployment", run_id, SECONDS)
    assert store.release("flights", "production").champion == champion
    answered = len(traffic.answered)
    wait_for(lambda: len(traffic.answered) > answered + 5, SECONDS, "answers after the rollback")
    assert set(list(traffic.answered.values())[-5:]) == {champion}
    assert traffic.failures == []


def test_a_deployment_that_is_marked_failed_by_hand_leaves_the_champion_alone(
    airflow: AirflowClient, report: dict[str, Any], store: Store, champion: str
) -> None:
    """Without traffic a canary waits; the person on call stops it in the web UI."""
    other = next(str(number) for number in range(1, 10) if str(number) != champion)
    run_id = start(airflow, "deployment", version=other, force=True)
    wait_for(lambda: states(airflow, "deployment", run_id)["watch_canary"] == "running", SECONDS, "the canary")
    path = f"dags/flights.deployment/dagRuns/{quote(run_id)}"
    airflow._ask("PATCH", path, json={"state": "failed"})
    wait_for(lambda: airflow.run("flights.deployment", run_id)["state"] == "failed", SECONDS, "the run's end")
    release = store.release("flights", "production")
    assert (release.champion, dict(release.weights), release.rollout) == (champion, {champion: 100}, None)


KILLED: dict[str, tuple[str, dict[str, Any]]] = {
    "training": ("train_candidate", {"parameters": USELESS, "reason": "killed in the middle"}),
    "monitoring": ("measure_health", {"window": "2013-06"}),
    "ci": ("check_contract", {"again": True}),
}
"""Story → the task that is killed while it runs, and how the run is started. ci comes last: it starts others."""


@pytest.mark.parametrize("story", KILLED)
def test_a_task_that_is_killed_is_finished_by_its_retry(
    airflow: AirflowClient, home: Path, report: dict[str, Any], story: Any
) -> None:
    task_id, conf = KILLED[story]
    if story == "ci":  # the newest commit may be one of the tests' own
        (first,) = [stage for stage in report["stages"] if stage["stage"] == "ci" and stage["why"] == "first commit"]
        conf = {**conf, "ref": first["commit"]}
    run_id = start(airflow, story, **conf)
    kill_task(airflow, story, run_id, task_id)
    run = airflow.await_end(f"flights.{story}", run_id, SECONDS)
    assert run["state"] == "success"
    (task,) = [task for task in airflow.tasks(f"flights.{story}", run_id) if task["task_id"] == task_id]
    assert task["try_number"] > 1


def kill_task(airflow: AirflowClient, story: str, run_id: str, task_id: str) -> None:
    """``kill -9`` of the process that runs the task, as soon as it does."""
    process = wait_for(
        lambda: task_process(airflow.tasks(f"flights.{story}", run_id), task_id), SECONDS, f"{story}'s {task_id} to run"
    )
    process.kill()
