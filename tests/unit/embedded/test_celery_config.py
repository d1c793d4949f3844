"""Tasks of a worker that was killed are given back when it starts again, and only those."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from celery import Celery

from tests.conftest import PROJECT
from tests.support.database_servers import PostgreSQL, Redis, postgresql, redis_server
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300), pytest.mark.needs("database_servers")]

APP = """
import time
from celery import Celery
from include.embedded.celery_config import CELERY_CONFIG

app = Celery("tried", config_source=CELERY_CONFIG)

@app.task(name="wait")
def wait(seconds):
    time.sleep(seconds)
"""


@dataclass
class Place:
    """A broker, a database of results, and workers that a test starts."""

    folder: Path
    database: PostgreSQL
    broker: Redis
    app: Any
    environment: dict[str, str]

    def worker(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "celery", "-A", "tried", "worker", "--concurrency", "1", "--queues", name]
        command += ["--hostname", f"{name}@{socket.gethostname()}", "--without-gossip", "--without-mingle"]
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def send(self, seconds: float, queue: str) -> Any:
        return self.app.send_task("wait", args=[seconds], queue=queue)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        database, broker = stack.enter_context(postgresql()), stack.enter_context(redis_server())
        results = "db+" + database.new_database().replace("postgresql://", "postgresql+psycopg2://")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")},
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CELERY__BROKER_URL": broker.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": results,
            "PYTHONPATH": f"{tmp_path}:{PROJECT}:{PROJECT / 'plugins'}",
        }
        (tmp_path / "tried.py").write_text(APP, encoding="utf-8")
        app = Celery("tried", broker=broker.url, backend=results, set_as_current=False)
        yield Place(tmp_path, database, broker, app, environment)


def test_a_worker_that_was_killed_gives_its_task_back_when_it_starts_again(place: Place) -> None:
    """By itself, Celery would call the task STARTED for ever, and Airflow wait for its heartbeats for 15 minutes."""
    first, other = place.worker("one"), place.worker("two")
    try:
        lost, spared = place.send(600, "one"), place.send(600, "two")
        wait_for(lambda: (lost.state, spared.state) == ("STARTED", "STARTED"), 120, "the tasks to start")
        children = psutil.Process(first.pid).children()
        os.kill(first.pid, signal.SIGKILL)
        first.wait(10)
        psutil.wait_procs(children, 10)
        assert lost.state == "STARTED", "nothing tells that it is lost: this test shows nothing"
        first = place.worker("one")
        said = place.folder / "one.log"
        wait_for(lambda: lost.state == "FAILURE", 120, "the lost task to be given back", said)
        assert "was killed and has started again" in str(lost.result)
        assert spared.state == "STARTED", "another worker's task goes on"
        following = place.send(0, "one")
        wait_for(lambda: following.state == "SUCCESS", 120, "the next task", said)
    finally:
        for worker in (first, other):
            worker.kill()
            worker.wait(10)


def test_tasks_are_given_back_as_soon_as_the_database_responds(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery only logs the error of a signal's receiver: the tasks would be lost for a quarter of an hour."""
    for name in ("AIRFLOW__CELERY__BROKER_URL", "AIRFLOW__CELERY__RESULT_BACKEND"):
        monkeypatch.setenv(name, place.environment[name])
    from include.embedded import celery_config

    waits: list[float] = []

    def start_database(seconds: float) -> None:
        waits.append(seconds)
        if not place.database.alive:
            place.database.start()
        wait_for(place.database.responds)

    backend = place.app.backend
    for task_id, node in (("mine", "one@here"), ("others", "two@here")):
        backend.store_result(task_id, {"pid": 1, "hostname": node}, "STARTED")
    place.database.stop()
    with monkeypatch.context() as patch:
        patch.setattr(celery_config, "time", SimpleNamespace(sleep=start_database))  # not for all: wait_for sleeps, too
        assert celery_config.give_back(backend, "one@here") == ["mine"]
    assert waits
    assert [backend.get_state(task_id) for task_id in ("mine", "others")] == ["FAILURE", "STARTED"]
    assert celery_config.give_back(backend, "one@here") == []


def test_a_result_is_stored_after_an_outage_of_the_database_and_the_worker_goes_on_after_one_of_the_broker(
    place: Place,
) -> None:
    worker = place.worker("one")
    try:
        task = place.send(5, "one")
        wait_for(lambda: task.state == "STARTED", 120, "the task to start")
        place.database.stop()
        said = place.folder / "one.log"
        wait_for(lambda: "_store_result" in said.read_text(encoding="utf-8"), 120, "a failed try to store it", said)
        place.database.start()
        wait_for(place.database.responds)
        wait_for(lambda: task.state == "SUCCESS", 120, "the result", said)
        place.broker.stop(signal.SIGKILL)
        place.broker.start()
        wait_for(place.broker.responds)
        following = place.send(0, "one")
        wait_for(lambda: following.state == "SUCCESS", 120, "a task after the broker's restart", said)
    finally:
        worker.kill()
        worker.wait(10)
