"""Faults of the platform ``celery``: of its workers and schedulers, and of the servers that it uses."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import psutil

from include.embedded.processes import alive
from tests.chaos.faults import KILL, Fault, component, during
from tests.chaos.place import Place
from tests.support.database_servers import Server
from tests.support.waiting import wait_for

DEFAULT_WORKER, TRAINING_WORKER = "worker-1", "worker-2"


def kill_supervising_child(place: Place) -> None:
    """Kill the worker's child that supervises a training which would never end: its job must end with it."""
    task = place.task(place.before["dag"], place.before["run"], "train_candidate")

    def own_code() -> list[psutil.Process]:
        """The job itself, without its guards, which must be able to react."""
        return [one for one in place.processes("runtime.train") if "-I" not in one.cmdline()]

    (job,) = wait_for(own_code, 120, "the training process")
    job.suspend()
    psutil.Process(task.ppid()).kill()
    wait_for(lambda: not alive([task, job]), 10, "the end of the task and its job")


def away(which: int, seconds: float, number: signal.Signals) -> Callable[[Place], None]:
    """A server (0: PostgreSQL, 1: Redis) is ended or killed, and is back after so many seconds."""

    def act(place: Place) -> None:
        assert place.servers is not None
        server: Server = place.servers[which]
        server.stop(number)
        until = time.monotonic() + seconds
        wait_for(lambda: time.monotonic() >= until, seconds + 10, "its next start")
        server.start()
        wait_for(place.servers[which].responds, 60, "the server's answer", server.log)

    return act


DATABASE, BROKER, END = 0, 1, signal.SIGINT
FIT, CANARY = "train_candidate", "watch_canary"
WORKER_FAULTS = [
    Fault(f"kill the worker's child that supervises {FIT}", kill_supervising_child, "training"),
    Fault(f"kill the worker during {FIT}", during(FIT, component(TRAINING_WORKER, KILL)), "training"),
    Fault(f"kill the worker during {CANARY}", during(CANARY, component(DEFAULT_WORKER, KILL)), "canary"),
    Fault(f"kill one of two schedulers during {FIT}", during(FIT, component("scheduler", KILL)), "training"),
    Fault(f"Redis killed and started again during {FIT}", during(FIT, away(BROKER, 0, KILL)), "training"),
    Fault("Redis away for 60 s from take_snapshot on", during("take_snapshot", away(BROKER, 60, KILL)), "training"),
    Fault(f"PostgreSQL restarted during {FIT}", during(FIT, away(DATABASE, 0, END)), "training"),
    Fault(f"PostgreSQL away for 30 s during {CANARY}", during(CANARY, away(DATABASE, 30, END)), "canary"),
    Fault("PostgreSQL away for 30 s from take_snapshot", during("take_snapshot", away(DATABASE, 30, END)), "training"),
]
SHORT_WORKER_FAULTS = WORKER_FAULTS[:-1]
"""Those of ``make test``: an outage that begins in a training takes as long as one in a canary."""
