"""The parts that only the platform ``celery`` has: Celery workers, and schedulers that share the work."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.core.errors import PlatformError
from include.settings import Settings

QUEUES = ("default", "training")
"""What Evergreen's tasks wait in: ``training`` is for the task that fits a model, which may take hours."""
ENTRY = re.compile(r"(?P<queues>[a-z_]+(?:,[a-z_]+)*):(?P<tasks>[1-9]\d?)")
PING_SECONDS = 2.0


@dataclass(frozen=True)
class Worker:
    """One Celery worker: the queues that it takes tasks from, and how many it runs at once."""

    name: str
    queues: tuple[str, ...]
    tasks: int

    @property
    def node(self) -> str:
        """Its name at the broker."""
        return f"{self.name}@{socket.gethostname()}"


def workers(settings: Settings) -> list[Worker]:
    """The workers that ``EVERGREEN_WORKERS`` describes; none on the platform ``local``.

    Raises PlatformError for text that can't be read, and for a queue that no worker takes tasks from.
    """
    if settings.platform == "local":
        return []
    found = []
    for number, entry in enumerate(settings.workers.split(), start=1):
        match = ENTRY.fullmatch(entry)
        if not match:
            raise PlatformError(
                f"EVERGREEN_WORKERS: '{entry}' is not <queue>[,<queue>]:<tasks at once>, with 1 to 99 tasks. Set it in "
                f".env, for example EVERGREEN_WORKERS='{Settings.workers}'"
            )
        found.append(Worker(f"worker-{number}", tuple(match["queues"].split(",")), int(match["tasks"])))
    taken = {queue for worker in found for queue in worker.queues}
    if missing := [queue for queue in QUEUES if queue not in taken]:
        raise PlatformError(
            f"EVERGREEN_WORKERS={settings.workers!r} has no worker for the queue {' and '.join(map(repr, missing))}, "
            "so its tasks would wait for ever. Add the queue to a worker."
        )
    if unknown := sorted(taken - set(QUEUES)):
        raise PlatformError(
            f"EVERGREEN_WORKERS={settings.workers!r}: no task waits in the queue {' or '.join(map(repr, unknown))}. "
            f"The queues are {' and '.join(map(repr, QUEUES))}."
        )
    return found


def further_schedulers(settings: Settings) -> list[str]:
    """Names of the schedulers beside the first; PlatformError where there can be none."""
    if settings.schedulers < 1:
        raise PlatformError(f"EVERGREEN_SCHEDULERS={settings.schedulers} must be 1 or more. Correct it in .env.")
    if settings.platform == "local" and settings.schedulers > 1:
        raise PlatformError(
            f"EVERGREEN_SCHEDULERS={settings.schedulers} needs EVERGREEN_PLATFORM=celery: SQLite has no locks of rows, "
            "by which schedulers share the work. Set it to 1 in .env."
        )
    return [f"scheduler-{number}" for number in range(2, settings.schedulers + 1)]


def worker_commands(settings: Settings) -> dict[str, list[str]]:
    """Name of each worker → its command line."""
    airflow = str(Path(sys.executable).with_name("airflow"))
    return {
        worker.name: [
            *(airflow, "celery", "worker", "--skip-serve-logs", "--without-gossip", "--without-mingle"),
            *("--queues", ",".join(worker.queues), "--concurrency", str(worker.tasks)),
            *("--celery-hostname", worker.node, "--pid", str(settings.run / f"{worker.name}.pid")),
        ]
        for worker in workers(settings)
    }


def worker_problems(settings: Settings) -> Mapping[str, str | None]:
    """Each worker → its problem, or None when it responds through the broker."""
    known = {worker.node: worker.name for worker in workers(settings)}
    if not known:
        return {}
    import celery

    app = celery.Celery(broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        broker_transport_options={"socket_connect_timeout": PING_SECONDS, "socket_timeout": 2 * PING_SECONDS},
        broker_connection_retry=False,
    )
    try:
        replies = app.control.ping(destination=list(known), timeout=PING_SECONDS)
    except Exception as error:  # whatever kombu and redis raise; the broker's own line says what is wrong
        return dict.fromkeys(known.values(), f"can't be asked: the broker does not respond ({type(error).__name__})")
    finally:
        app.close()
    answered = {known.get(node) for reply in replies for node in reply}
    return {name: None if name in answered else "does not respond" for name in known.values()}
