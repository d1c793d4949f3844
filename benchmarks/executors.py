"""LocalExecutor on SQLite beside Celery on PostgreSQL: ``python -m benchmarks.executors``, also part of ``make bench``.

For each: how long a task waits after the one before it, how long 20 models take to train with 1, 2 and 4 trainings at
once, and what the idle platform takes. ``local`` or ``celery`` as argument measures only one. The second needs
PostgreSQL and Redis. Takes about a quarter of an hour.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from include.embedded.environment import INSTANCE
from tests.support.database_servers import missing_servers, postgresql, redis_server
from tests.support.matrix_models import Cell
from tests.support.matrix_platform import matrix_platform
from tests.support.running_platform import Platform, short_folder
from tests.support.waiting import wait_for

MODELS, SLOTS, CHAINS = 20, (1, 2, 4), 5
POOL = "evergreen_training"
IDLE_SECONDS, SETTLE_SECONDS = 60.0, 30.0
RUN_SECONDS = 1200.0


@dataclass(frozen=True)
class Numbered(Cell):
    """One of many equal models."""

    number: int = 0

    @property
    def name(self) -> str:
        """Such as ``model-7``."""
        return f"model-{self.number}"


@dataclass(frozen=True)
class Place:
    """A running platform, and the processes of the servers that it uses."""

    platform: Platform
    servers: tuple[psutil.Process, ...] = ()


def measured(only: str = "") -> Iterator[tuple[str, str]]:
    """Name and result of each measurement; ``only``: of the platform with this name."""
    for name, place in (("LocalExecutor on SQLite", local), ("Celery on PostgreSQL", celery)):
        if only and only != place.__name__:
            continue
        if place is celery and missing_servers():
            yield name, f"not measured: {missing_servers()}"
            continue
        with place() as running:
            yield from ((f"{name}: {what}", figure) for what, figure in _measure(running))


@contextmanager
def local() -> Iterator[Place]:
    """The default platform."""
    with _platform({}) as platform:
        yield Place(platform)


@contextmanager
def celery() -> Iterator[Place]:
    """The platform on Celery workers, with a PostgreSQL and a Redis of its own."""
    with postgresql() as database, redis_server() as broker:
        settings = {
            "EVERGREEN_PLATFORM": "celery",
            "EVERGREEN_DATABASE_URL": database.new_database(),
            "EVERGREEN_BROKER_URL": broker.url,
            "EVERGREEN_WORKERS": f"default:3 training:{max(SLOTS)}",
        }
        with _platform(settings) as platform:
            started = [server.process for server in (database, broker) if server.process]
            yield Place(platform, tuple(psutil.Process(process.pid) for process in started))


@contextmanager
def _platform(settings: dict[str, str]) -> Iterator[Platform]:
    environments = Path(tempfile.gettempdir()) / f"evergreen-bench-environments-{os.getuid()}"
    environments.mkdir(mode=0o700, exist_ok=True)
    cells = [Numbered("regression", "plain", "csv", "added", number) for number in range(MODELS)]
    with ExitStack() as stack:
        root = stack.enter_context(short_folder())
        platform = stack.enter_context(matrix_platform(root, cells, environments, settings=settings))
        wait_for(lambda: platform.ask("GET", "dags?limit=1")["total_entries"] >= 5 * MODELS, 300, "the Dags")
        for cell in cells:  # without traffic, their canaries would wait
            platform.ask("PATCH", f"dags/{cell.name}.deployment", json={"is_paused": True})
        yield platform


def _measure(place: Place) -> Iterator[tuple[str, str]]:
    platform = place.platform
    waits, gaps = _chains(platform)
    yield "from queued to start of a task (median)", f"{statistics.median(waits):.2f} s"
    yield "from the end of a task to the start of the next (median)", f"{statistics.median(gaps):.2f} s"
    for slots in SLOTS:
        pool = {"pool": POOL, "slots": slots, "include_deferred": False}
        platform.ask("PATCH", f"pools/{POOL}?update_mask=slots", json=pool)
        start = time.perf_counter()
        _train(platform, range(MODELS))
        yield f"{MODELS} models' trainings, {slots} at once", f"{time.perf_counter() - start:.0f} s"
    settled = time.monotonic() + SETTLE_SECONDS
    wait_for(lambda: time.monotonic() > settled, SETTLE_SECONDS + 10, "the idle platform")
    yield "the idle platform without models", _idle(place)


def _chains(platform: Platform) -> tuple[list[float], list[float]]:
    """Seconds from queued to start, and between chained tasks, of trainings that have the platform for themselves."""
    waits, gaps = [], []
    for _ in range(CHAINS):
        (run,) = _train(platform, [0])
        path = f"dags/model-0.training/dagRuns/{quote(run, safe='')}/taskInstances"
        tasks = [
            task for task in platform.ask("GET", path)["task_instances"] if task["end_date"] and task["queued_when"]
        ]
        tasks.sort(key=lambda task: str(task["start_date"]))
        waits += [_seconds(task, "queued_when", task, "start_date") for task in tasks]
        gaps += [_seconds(one, "end_date", other, "start_date") for one, other in pairwise(tasks)]
    return waits, gaps


def _seconds(one: dict[str, Any], begin: str, other: dict[str, Any], end: str) -> float:
    moments = [datetime.fromisoformat(str(moment)) for moment in (one[begin], other[end])]
    return (moments[1] - moments[0]).total_seconds()


def _train(platform: Platform, numbers: Any) -> list[str]:
    """Start a training of each model and wait until all have ended; returns the run ids."""
    runs = {number: platform.trigger(f"model-{number}.training") for number in numbers}
    for number, run in runs.items():
        state = platform.wait(f"model-{number}.training", run, RUN_SECONDS)
        if state != "success":
            raise SystemExit(f"model-{number}.training {run} ended as {state}")
    return list(runs.values())


def _idle(place: Place) -> str:
    """Memory (proportional set size) and processor time of the parts and of the servers that they use."""
    before = _processor(place)
    until = time.monotonic() + IDLE_SECONDS
    wait_for(lambda: time.monotonic() > until, IDLE_SECONDS + 10, "the idle platform")
    after = _processor(place)
    used = sum(seconds - before.get(pid, seconds) for pid, seconds in after.items())
    memory = sum(map(_memory, _processes(place))) / 1e6
    return f"{memory:.0f} MB (PSS), {100 * used / IDLE_SECONDS:.0f} % of a core"


def _memory(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss)
    except psutil.Error:  # it has just ended
        return 0.0


def _processor(place: Place) -> dict[int, float]:
    seconds = {}
    for process in _processes(place):
        with suppress(psutil.Error):
            seconds[process.pid] = sum(process.cpu_times()[:2])
    return seconds


def _processes(place: Place) -> list[psutil.Process]:
    """The parts of the platform, without model servers, and its servers with their children."""
    found, home = [], str(place.platform.settings.home)
    for process in psutil.process_iter():
        try:
            mine = process.environ().get(INSTANCE) == home
            if mine and "runtime.serve" not in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found + [one for server in place.servers for one in (server, *server.children(recursive=True))]


def main(only: str = "") -> None:
    """Print each measurement as a line of JSON."""
    for row in measured(only):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
