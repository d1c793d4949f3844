"""The platform that the faults are injected into: two models in production, under traffic that nobody repeats."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import psutil
import requests

from include.adapters.supervisord import open_supervisor
from include.embedded import components, processes
from include.stages.installation import Installation, open_installation
from tests.support.airflow_runs import task_process
from tests.support.database_servers import PostgreSQL, Redis, postgresql, redis_server
from tests.support.matrix_models import AFTER, BEFORE, CELLS, Cell, rows
from tests.support.matrix_platform import matrix_platform, send
from tests.support.running_platform import Platform
from tests.support.traffic import Traffic
from tests.support.waiting import wait_for

MODELS = [cell for cell in CELLS if cell.name in ("plain-csv", "own_transformer-csv")]
"""A regression, and a classification with a class of its own."""
CLIENTS = 2
WELL_SECONDS = 3.0


@dataclass
class Place:
    """The platform, as those who inject faults and those who use it see it."""

    platform: Platform
    root: Path
    frames: dict[str, pd.DataFrame]
    before: dict[str, Any] = field(default_factory=dict)
    servers: tuple[PostgreSQL, Redis] | None = None
    """What the platform ``celery`` uses; None on the platform ``local``."""

    @property
    def installation(self) -> Installation:
        return open_installation()

    @property
    def run(self) -> Path:
        return self.platform.settings.run

    @property
    def home(self) -> Path:
        return self.platform.settings.home

    @property
    def cell(self) -> Cell:
        """The model that faults are aimed at."""
        return MODELS[0]

    def processes(self, *words: str) -> list[psutil.Process]:
        """The installation's processes (whose command line has one of these words)."""
        ours = processes.of_installation(self.platform.settings)
        return [one for one in ours if not words or processes.runs(one, *words)]

    def component(self, name: str) -> psutil.Process:
        """The process of one of supervisord's programs."""
        return psutil.Process(open_supervisor(self.run).getProcessInfo(name)["pid"])

    def server(self, cell: Cell | None = None) -> psutil.Process:
        """The process that serves the model's live version."""
        model = (cell or self.cell).name
        live = self.installation.store.release(model, "production").champion
        return self.component(f"{model}.production.{live}")

    def task(self, dag_id: str, run_id: str, task_id: str) -> psutil.Process:
        """Wait for the task to run; returns its process."""
        path = f"dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances"

        def running() -> psutil.Process | None:
            return task_process(self.platform.ask("GET", path)["task_instances"], task_id)

        return wait_for(running, 240, f"{task_id} of {dag_id} to run")  # type: ignore[return-value]

    def healthy(self) -> bool:
        """Whether every component and server is well, both models answer, and everything is as desired."""
        try:
            supervisor = open_supervisor(self.run)
            infos = {info["name"]: info for info in supervisor.getAllProcessInfo()}
            states = {info["statename"] for info in infos.values()}
            problems = components.problems(
                self.platform.settings, {name: float(info["start"]) for name, info in infos.items()}
            )
            supervised = all(self.server(cell).is_running() for cell in MODELS)
        except Exception:  # whatever is broken right now
            return False
        if not supervised or states != {"RUNNING"} or any(problems.values()) or any(map(_stopped, self.processes())):
            return False
        checked = components.server_problems(self.platform.settings) | components.route_problems(self.platform.settings)
        files = [path.with_suffix(".conf") for path in (self.run / "servers").glob("*.json")]
        complete = all(path.exists() and path.stat().st_size for path in files)
        return complete and len(checked) >= 2 * len(MODELS) and not any(checked.values())

    def trainings(self) -> int:
        """How many training runs there are, of both models."""
        try:
            return sum(
                self.platform.ask("GET", f"dags/{cell.name}.training/dagRuns?limit=1")["total_entries"]
                for cell in MODELS
            )
        except (requests.RequestException, AssertionError):
            return -1

    def traffic(self) -> Traffic:
        """Clients of both models in turn."""
        turns, local = itertools.count(), threading.local()

        def next_request(identity: str) -> requests.Response:
            if not hasattr(local, "session"):
                local.session = requests.Session()
            turn = next(turns)
            cell, first = MODELS[turn % len(MODELS)], turn % 200
            row = self.frames[cell.name].iloc[first : first + 1]
            return send(self.platform, cell, row, identity, changed=False, session=local.session)

        return Traffic(next_request, pause=0.01, clients=CLIENTS)

    def logged(self) -> set[str]:
        """The ids of all requests in the prediction logs."""
        found = set()
        for path in (self.home / "prediction_log").glob("*/*.jsonl"):
            if not path.is_file():
                continue
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    found.add(json.loads(line)["request_id"])
                except (ValueError, KeyError):  # cut off by a kill, so that its request was not answered
                    continue
        return found

    def settle(self, seconds: float = 300) -> None:
        """Wait until everything has been well for some seconds: a killed process is noticed a moment later."""
        since: float | None = None

        def stable() -> bool:
            nonlocal since
            since = (since or time.monotonic()) if self.healthy() else None
            return since is not None and time.monotonic() - since > WELL_SECONDS

        wait_for(stable, seconds, "the platform to heal")


def _stopped(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


@contextmanager
def chaos_place(root: Path, environments: Path) -> Iterator[Place]:
    """Two models with version 1 in production, and the data of two windows."""
    prometheus = "prometheus" if shutil.which("prometheus") else ""
    with matrix_platform(root, MODELS, environments, [BEFORE, AFTER], prometheus) as platform:
        place = Place(platform, root, {cell.name: rows(AFTER) for cell in MODELS})
        _await_dags(place)
        yield place


@contextmanager
def celery_place(root: Path, environments: Path) -> Iterator[Place]:
    """The same on two Celery workers and two schedulers, with PostgreSQL and Redis of its own."""
    with postgresql() as database, redis_server() as broker:
        settings = {
            "EVERGREEN_PLATFORM": "celery",
            "EVERGREEN_DATABASE_URL": database.new_database(),
            "EVERGREEN_BROKER_URL": broker.url,
            "EVERGREEN_WORKERS": "default:3 training:1",
            "EVERGREEN_SCHEDULERS": "2",
        }
        with matrix_platform(root, MODELS, environments, [BEFORE, AFTER], settings=settings) as platform:
            frames = {cell.name: rows(AFTER) for cell in MODELS}
            place = Place(platform, root, frames, servers=(database, broker))
            _await_dags(place)
            yield place


def _await_dags(place: Place) -> None:
    dags = 5 * len(MODELS)
    wait_for(lambda: len(place.platform.ask("GET", "dags?limit=100")["dags"]) >= dags, 120, "the Dags")
    place.settle()


Injection = Callable[[Place], Any]
