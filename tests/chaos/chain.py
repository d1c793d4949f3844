"""The whole chain from a degraded window to a new release, while every one of its tasks is killed once.

One round: predictions and ground truth of a month that the live version predicts badly, then monitoring, retraining,
training and deployment, each started by the one before. Short tasks may end before they are found, so there are rounds
until each has been killed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pandas as pd
import psutil
import requests
import yaml

from tests.chaos.faults import Fault
from tests.chaos.place import WELL_SECONDS, Place
from tests.chaos.runner import Outcome
from tests.support.airflow_runs import task_process
from tests.support.matrix_models import rows
from tests.support.matrix_platform import send, write_spec
from tests.support.waiting import wait_for

CHAIN = ("monitoring", "retraining", "training", "deployment")
MONTHS = ("2013-07", "2013-08", "2013-09", "2013-10")
"""One for each round."""
SECONDS = 900.0
FAULT = Fault("kill every task from a degraded window to the new release, once each", lambda place: None, "degradation")


class Killer:
    """Kills the first try of each task of the chain's Dags as soon as it is seen to run."""

    def __init__(self, place: Place) -> None:
        self.place, self.killed = place, set[tuple[str, str]]()
        self._done, self._stop = set[str](), threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _go_on(self) -> None:
        while not self._stop.wait(0.05):
            try:
                running = self.place.platform.ask("GET", "dags/~/dagRuns/~/taskInstances?state=running&limit=100")
                for task in running["task_instances"]:
                    self._kill(task)
            except (requests.RequestException, AssertionError, psutil.Error):
                continue  # the task has just ended, or the api-server is busy

    def _kill(self, task: dict[str, Any]) -> None:
        model, _, stage = str(task["dag_id"]).rpartition(".")
        if model != self.place.cell.name or stage not in CHAIN or task["try_number"] != 1 or task["id"] in self._done:
            return
        process = task_process([task], task["task_id"])
        if process is not None:
            process.kill()
            self._done.add(task["id"])
            self.killed.add((stage, str(task["task_id"])))


def play_chain(place: Place) -> Outcome:
    """Play rounds until each task has been killed once; the outcome counts over all of them."""
    with strict_spec(place):
        trainings, started, problem, incidents = place.trainings(), time.monotonic(), "", 0
        with place.traffic() as traffic, Killer(place) as killer:
            try:
                for number, month in enumerate(MONTHS):
                    play_round(place, month, worse_by=1_000.0 * 10**number)
                    incidents += 1
                    missed = _tasks(place) - killer.killed
                    print(f"  {month}: {len(killer.killed)} tasks killed, not yet: {sorted(missed)}", flush=True)
                    if not missed:
                        break
                assert not missed, f"never killed: {sorted(missed)}"
                place.settle()
            except Exception as error:  # whatever did not heal
                problem = f"{type(error).__name__}: {error}".splitlines()[0]
        seconds = time.monotonic() - started - WELL_SECONDS
    lost = len(set(traffic.answered) - place.logged())
    retrainings = place.trainings() - trainings - incidents
    return Outcome(FAULT, seconds, len(traffic.answered), len(traffic.failures), lost, retrainings, problem)


def play_round(place: Place, month: str, worse_by: float) -> None:
    """From a month that is predicted badly to the release of the version that was trained for it."""
    cell, here = place.cell, place.installation
    before = here.store.release(cell.name, "production").champion
    frame = rows(month)
    frame = frame.assign(**{cell.target: frame[cell.target] + worse_by})
    _land(place, month, frame)
    assert send(place.platform, cell, frame, f"all-{month}", changed=False).status_code == 200
    place.platform.trigger(f"{cell.name}.monitoring", {"window": month})

    def released() -> bool:
        now = here.store.release(cell.name, "production")
        return now.champion != before and now.rollout is None

    wait_for(released, SECONDS, f"the version that replaces {before}")
    wait_for(lambda: _unfinished(place) == 0, SECONDS, "the end of all runs")
    opened = [one for one in here.store.incidents(cell.name) if one.window == month]
    assert len(opened) == 1, f"{len(opened)} incidents of {month}"
    for stage in CHAIN:
        failed = place.platform.ask("GET", f"dags/{cell.name}.{stage}/dagRuns?state=failed&limit=1")["total_entries"]
        assert failed == 0, f"{failed} failed runs of {stage}"


def _land(place: Place, month: str, frame: pd.DataFrame) -> None:
    for kind, part in (("data", frame), ("truth", frame[["id", place.cell.target]])):
        part.to_csv(place.root / place.cell.name / kind / f"{month}.csv", index=False)


def _tasks(place: Place) -> set[tuple[str, str]]:
    """The tasks of the chain that have run."""
    found = set()
    for stage in CHAIN:
        dag_id = f"{place.cell.name}.{stage}"
        runs = place.platform.ask("GET", f"dags/{dag_id}/dagRuns?order_by=-id&limit=10")["dag_runs"]
        for run in runs:
            path = f"dags/{dag_id}/dagRuns/{quote(run['dag_run_id'], safe='')}/taskInstances"
            tasks = place.platform.ask("GET", path)["task_instances"]
            found |= {(stage, str(task["task_id"])) for task in tasks if task["state"] == "success"}
    return found


def _unfinished(place: Place) -> int:
    return sum(
        place.platform.ask("GET", f"dags/{place.cell.name}.{stage}/dagRuns?state=running&state=queued")["total_entries"]
        for stage in CHAIN
    )


@contextmanager
def strict_spec(place: Place) -> Iterator[None]:
    """The model's degradation is judged, and new data alone starts no training."""
    cell = place.cell
    values = cell.spec(place.root, changed=False)
    values["training"] = {**values["training"], "on_new_data": False}
    values["promotion"] = {**values["promotion"], "improvement": -1e9, "slice_drop_at_most": 1e9}
    canary = {**values["deployment"]["canary"], "predictions": {"required": False}}  # they change, and are meant to
    values["deployment"] = {**values["deployment"], "canary": canary}
    values["degradation"] = {"drop": 50.0, "windows": 1, "breaches": 1, "cooldown_windows": 0, "budget": 12}
    path = place.root / "models" / cell.name / "model.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")

    def parsed() -> bool:
        dag = place.platform.ask("GET", f"dags/{cell.name}.training/details")
        return f"{cell.name}/data" not in str(dag["asset_expression"])

    try:
        wait_for(parsed, 180, "the Dag that does not wait for data")
        yield
    finally:
        write_spec(place.root, cell, changed=False)
