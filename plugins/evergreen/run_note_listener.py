"""Ends each run of Evergreen's Dags with a note of one line, also runs that nobody triggered.

Airflow's scheduler calls the two functions below when it has decided how a run ended, within the transaction that
records that. Everything happens inside a savepoint on the same connection: a statement that fails, such as an insert
that meets the note of a person who wrote it in this moment, undoes only itself, and nothing is ever raised. A second
connection could not write: on SQLite, the scheduler's transaction holds the only lock.

``dag_run.note = ...`` would do the same through the scheduler's session, whose flush fails as a whole.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from sqlalchemy.engine import Connection

log = logging.getLogger(__name__)

AUTHOR = "evergreen"
"""Who wrote the note, if it has nothing but our line."""
BY_HAND = "manually"
"""In Airflow's message if a person set the run's state. Then the api-server calls, in whose session a note may wait."""


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Write the note of a run that succeeded."""
    _write_note(dag_run, msg, "success")


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Write the note of a run that failed or timed out."""
    _write_note(dag_run, msg, "failed")


def _write_note(dag_run: DagRun, msg: str, state: str) -> None:
    try:
        from sqlalchemy.orm import object_session

        session = object_session(dag_run)
        if session is None or BY_HAND in msg or not is_ours(dag_run.dag_id):
            return
        connection = session.connection()  # without a flush: what the scheduler has not written yet stays with it
        with connection.begin_nested():
            _upsert(connection, dag_run.id, dag_run.dag_id, dag_run.run_id, state)
    except Exception:
        log.warning("the note of %s could not be written", dag_run, exc_info=True)


def is_ours(dag_id: str) -> bool:
    """Whether this is a Dag of Evergreen's; Dags of others may have a name that ends like ours."""
    from evergreen.model_dags import spec_files
    from evergreen.run_notes import STAGES

    model, _, stage = dag_id.rpartition(".")
    return dag_id == "evergreen.housekeeping" or (
        stage in STAGES and any(path.parent.name == model for path in spec_files())
    )


def _upsert(connection: Connection, run: int, dag_id: str, run_id: str, state: str) -> None:
    import sqlalchemy as sa
    from airflow.models.dagrun import DagRunNote
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel

    from evergreen.run_notes import NEEDED, merged, run_note

    xcom: Any = XComModel.__table__
    notes: Any = DagRunNote.__table__
    tasks: Any = TaskInstance.__table__
    values = connection.execute(
        sa.select(xcom.c.task_id, xcom.c.key, xcom.c.value).where(xcom.c.dag_run_id == run, xcom.c.key.in_(NEEDED))
    )
    results = {(row.task_id, row.key): _decoded(row.value) for row in values}
    failed = connection.execute(
        sa.select(tasks.c.task_id)
        .where(tasks.c.dag_id == dag_id, tasks.c.run_id == run_id, tasks.c.state == "failed")
        .order_by(tasks.c.end_date)
    )
    line = run_note(dag_id, state, results, [row.task_id for row in failed])
    existing = connection.execute(sa.select(notes.c.content).where(notes.c.dag_run_id == run)).one_or_none()
    note = merged(existing.content if existing else None, line) if line else None
    if note is None:
        return
    if existing is None:
        connection.execute(notes.insert().values(dag_run_id=run, content=note, user_id=AUTHOR))
    else:
        connection.execute(notes.update().where(notes.c.dag_run_id == run).values(content=note))


def _decoded(value: Any) -> Any:
    """A value of the column, which Airflow fills with JSON or with the text of JSON.

    A version is the text ``3``, which must not become a number.
    """
    if not isinstance(value, str):
        return value
    try:
        read = json.loads(value)
    except ValueError:
        return value
    return read if isinstance(read, str | list | dict) else value
