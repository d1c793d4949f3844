"""Celery's configuration for scheduler and workers, set as ``[celery] celery_config_options``.

Beyond Airflow's own: sending and storing results outlast an outage of Redis or PostgreSQL, and a worker that starts
gives back the tasks of its predecessor that was killed. Airflow by itself notices only by their missing heartbeats,
which must be allowed to be missing for as long as the api-server may be away (PATIENCE in environment.py).
"""

from __future__ import annotations

import logging
import time
from typing import Any

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG
from celery import states
from celery.backends.database import RETRYABLE_DB_ERRORS
from celery.exceptions import WorkerLostError
from celery.signals import worker_init

from include.embedded.airflow_local_settings import preload

log = logging.getLogger(__name__)

CELERY_CONFIG: dict[str, Any] = {
    **DEFAULT_CELERY_CONFIG,
    # Without an end, so that Airflow's time limit ends each attempt and Airflow tries again: an error fails the task.
    "task_publish_retry_policy": {"max_retries": None, "interval_start": 0.1, "interval_step": 0.1},
    "broker_connection_max_retries": None,
    "result_backend_always_retry": True,
    "database_engine_options": {**DEFAULT_CELERY_CONFIG["database_engine_options"], "pool_pre_ping": True},
}
DATABASE_SECONDS = 2.0


def lost_tasks(backend: Any, worker: str) -> list[str]:
    """Ids of the tasks that this worker (its node name) has started and not finished."""
    session = backend.ResultSession()
    try:
        started = session.query(backend.task_cls).filter(backend.task_cls.status == states.STARTED)
        return [task.task_id for task in started if (task.result or {}).get("hostname") == worker]
    finally:
        session.close()


def give_back(backend: Any, worker: str) -> list[str]:
    """Mark the tasks of a worker's predecessor as failed, so that the scheduler retries them; returns their ids.

    Must be called before the worker takes any task. Waits until the database responds.
    """
    while True:
        try:
            lost = lost_tasks(backend, worker)
            break
        except RETRYABLE_DB_ERRORS as error:
            log.warning("the database of results does not respond: %s", type(error).__name__)
            time.sleep(DATABASE_SECONDS)
    for task_id in lost:
        log.warning("gave back %s, which this worker's predecessor had started", task_id)
        backend.mark_as_failure(task_id, WorkerLostError(f"{worker} was killed and has started again"))
    return lost


@worker_init.connect  # type: ignore[untyped-decorator]
def on_worker_init(sender: Any, **_: Any) -> None:
    """A worker starts. Preloading takes seconds, for which lost tasks need not wait."""
    give_back(sender.app.backend, sender.hostname)
    preload()
