"""What arrives while a Dag is paused, or busy, starts a run as soon as one may start: no event is lost."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import partial
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest
import requests
from selenium.webdriver.common.by import By

from docs.pictures import browser, log_in
from docs.pictures import wait_for as wait_for_element
from include.adapters.store import Store
from include.core.build import Build
from tests.integration.conftest import ON_NEW_DATA
from tests.support.running_platform import Platform
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def land(platform: Platform, name: str, window: str) -> None:
    """Put a partition of a model that trains on new data into the lake."""
    path = platform.lake / name / f"{window}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = range(100)
    at = [pd.Timestamp(f"{window}-05") + pd.Timedelta(hours=number) for number in numbers]
    frame = pd.DataFrame({"id": [str(number) for number in numbers], "at": at, "x": numbers, "y": numbers})
    frame.to_parquet(path, index=False)


def asset(platform: Platform, name: str) -> Any:
    """The asset ``<model>/<thing>``, once Airflow knows it."""
    found = platform.ask("GET", f"assets?uri_pattern=evergreen://{name}")["assets"]
    return found and found[0]


def send(platform: Platform, name: str) -> int:
    """An event of an asset, as a person sends it from the asset's page; returns its id."""
    event = {"asset_id": asset(platform, name)["id"], "extra": {}}
    return int(platform.ask("POST", "assets/events", json=event)["id"])


def events_of(platform: Platform, dag: str) -> list[int]:
    """The events that the Dag's runs have had, oldest first; a run that has not started has none yet."""
    runs = platform.ask("GET", f"dags/{dag}/dagRuns?order_by=run_after&run_type=asset_triggered")["dag_runs"]
    paths = [f"dags/{dag}/dagRuns/{quote(run['dag_run_id'], safe='')}" for run in runs if run["start_date"]]
    found = [platform.ask("GET", f"{path}/upstreamAssetEvents")["asset_events"] for path in paths]
    return [number for events in found for number in sorted(event["id"] for event in events)]


def arrived(platform: Platform, name: str) -> dict[str, int]:
    """Each window for which Airflow has an event of new data, with the id of the newest one."""
    # Airflow 3.3.2's API answers with 500 while a run of these events is queued.
    question = "select e.extra, e.id from asset_event e join asset a on a.id = asset_id where a.name = ? order by e.id"
    events = airflow(platform, question, f"{name}/data")
    return {json.loads(extra)["payload"]["window"]: number for extra, number in events}


def watchers(platform: Platform, name: str) -> list[Any]:
    """What watches the model's data."""
    return airflow(platform, "select name from asset_watcher where name = ?", f"{name}_data")


def airflow(platform: Platform, question: str, *values: str) -> list[Any]:
    """What Airflow's database says."""
    with closing(sqlite3.connect(platform.settings.home / "airflow" / "airflow.db", timeout=60)) as database:
        return database.execute(question, values).fetchall()


@pytest.fixture(scope="module")
def watched(platform: Platform) -> Platform:
    """The data of both models has been looked at, and each has a build."""
    store = Store(f"sqlite:///{platform.settings.home / 'evergreen.db'}")

    def looked_at(name: str) -> object:
        known = asset(platform, f"{name}/data")
        return known and platform.ask("GET", f"assets/{known['id']}/state-store")["asset_state_store"]

    for name in ON_NEW_DATA:
        store.record_build(Build(name, "build", "commit", "environment", "passed"))
        wait_for(partial(looked_at, name), 120, f"the first look at the data of {name}")
    return platform


def test_a_partition_that_arrives_starts_the_training_of_its_own_model(watched: Platform) -> None:
    windows = dict(zip(ON_NEW_DATA, ("2013-05", "2013-06"), strict=True))
    for name, window in windows.items():
        assert events_of(watched, f"{name}.training") == []
        land(watched, name, window)

    def snapshot(name: str) -> bool:
        tasks = watched.ask("GET", f"dags/{name}.training/dagRuns/~/taskInstances?task_id=take_snapshot")
        return [task["state"] for task in tasks["task_instances"]] == ["success"]

    for name, window in windows.items():
        wait_for(partial(snapshot, name), 60, f"the snapshot of {name}")
        assert events_of(watched, f"{name}.training") == [arrived(watched, name)[window]]


@pytest.mark.parametrize("name", ON_NEW_DATA)
def test_an_event_that_comes_while_a_dag_is_paused_starts_one_run_when_it_is_resumed(
    watched: Platform, name: str
) -> None:
    dag = f"{name}.retraining"
    before = events_of(watched, dag)
    watched.ask("PATCH", f"dags/{dag}", json={"is_paused": True})
    sent = [send(watched, f"{name}/health"), send(watched, f"{name}/health")]
    assert watched.ask("GET", f"dags/{dag}/assets/queuedEvents")["total_entries"] == 0, (
        "Airflow dropped none: this test shows nothing"
    )
    watched.ask("PATCH", f"dags/{dag}", json={"is_paused": False})
    wait_for(lambda: len(events_of(watched, dag)) > len(before), 60, "a run for what came meanwhile")
    assert events_of(watched, dag) == [*before, *sent]


def active_run(platform: Platform, dag: str) -> str:
    """The path of a run of a model's retraining that waits until somebody ends it."""
    path = f"dags/{dag}/dagRuns/{quote(platform.trigger(dag, {'wait': True}), safe='')}"
    wait_for(lambda: platform.ask("GET", path)["state"] == "running", 60, "the run that waits")
    return path


@pytest.mark.parametrize("name", ON_NEW_DATA)
def test_of_events_that_come_during_a_run_the_last_is_not_lost(watched: Platform, name: str) -> None:
    """Airflow keeps the first one's time for the next run, which then has no later one."""
    dag = f"{name}.retraining"
    before = events_of(watched, dag)
    path = active_run(watched, dag)
    sent = [send(watched, f"{name}/health") for _ in range(3)]
    watched.ask("PATCH", path, json={"state": "success"})
    wait_for(lambda: events_of(watched, dag) == [*before, *sent], 60, "runs for all three events")


@pytest.mark.parametrize("name", ON_NEW_DATA)
def test_a_run_that_a_person_ends_does_not_hold_up_the_next_one(watched: Platform, name: str) -> None:
    """Airflow has noted, with a parse while the run was active, that the Dag may start no other."""
    dag = f"{name}.retraining"
    before = events_of(watched, dag)
    path = active_run(watched, dag)
    described = watched.ask("GET", f"dags/{dag}")
    parse(watched, described["file_token"])
    wait_for(lambda: parsed(watched, dag) > described["last_parsed_time"], 60, "the parse")
    watched.ask("PATCH", path, json={"state": "failed"})
    sent = send(watched, f"{name}/health")
    wait_for(lambda: events_of(watched, dag) == [*before, sent], 60, "the next run")


def parsed(platform: Platform, dag: str) -> str:
    """When the Dag's file was parsed last."""
    return str(platform.ask("GET", f"dags/{dag}")["last_parsed_time"])


def parse(platform: Platform, file: str) -> None:
    """What the button *Reparse Dag* sends."""
    headers = {"Authorization": f"Bearer {platform.token()}"}
    requests.put(f"{platform.airflow_url}/api/v2/parseDagFile/{file}", headers=headers, timeout=30).raise_for_status()


@pytest.mark.needs("browser")
def test_automation_that_a_person_resumes_goes_on_with_what_arrived_meanwhile(watched: Platform) -> None:
    """By mouse, on the model's page; the watcher may have seen the partition before the pause has ended it, or not."""

    def click(driver: Any, label: str, then: str) -> None:
        driver.get(f"{watched.airflow_url}/evergreen/ui/models/tides")
        wait_for_element(driver, "div.actions")
        driver.find_element(By.XPATH, f"//button[text()='{label} automation']").click()
        wait_for(lambda: f"{then} automation" in driver.page_source, 30, f"the button {then}")

    with browser() as driver:
        log_in(driver, watched.settings)
        click(driver, "Pause", "Resume")
        land(watched, "tides", "2013-07")
        wait_for(lambda: "2013-07" in arrived(watched, "tides") or not watchers(watched, "tides"), 60, "either")
        click(driver, "Resume", "Pause")
    window = wait_for(lambda: arrived(watched, "tides").get("2013-07"), 60, "the event of the partition")
    wait_for(lambda: window in events_of(watched, "tides.training"), 60, "a training for it")
