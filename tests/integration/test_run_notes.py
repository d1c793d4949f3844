"""Each run ends with a note in Airflow's own database, and no failing note harms what the scheduler writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from evergreen import run_note_listener
from tests.integration.monitored_model import MonitoredModel
from tests.support.airflow_runs import run_here

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    from airflow.utils.db import initdb

    initdb()


def run(stage: str, **conf: Any) -> str | None:
    """A whole run of ``late.<stage>`` by hand, in this process; its note once the listener was told that it ended.

    Airflow's in-process runs belong to no session, unlike the scheduler's, so the listener leaves them alone.
    """
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    bag = DagBag(dag_folder=str(DAGS / f"{stage}.py"))
    state, _ = run_here(bag.dags[f"late.{stage}"], conf)
    newest = sa.select(DagRun).filter_by(dag_id=f"late.{stage}").order_by(DagRun.id.desc()).limit(1)
    listen = {"success": run_note_listener.on_dag_run_success, "failed": run_note_listener.on_dag_run_failed}
    with create_session() as session:
        listen[state](dag_run=session.scalars(newest).one(), msg=state)
    with create_session() as session:
        note: str | None = session.scalars(newest).one().note
    return note


def test_runs_end_with_their_outcome(monitored: MonitoredModel) -> None:
    monitored.predict("2013-05")
    monitored.truth_arrives("2013-05")
    assert run("monitoring", window="2013-05") == "Evergreen: window 2013-05 is complete"
    assert run("retraining") == "Evergreen: pass, window 2013-05 is within the allowed drop"


def test_a_run_that_failed_says_where(monitored: MonitoredModel) -> None:
    assert run("training", window="2013-07") == "Evergreen: no version registered; failed at take_snapshot"


def test_the_scheduler_itself_writes_the_note_of_a_run_that_it_ends(monitored: MonitoredModel) -> None:
    """Its own code and transaction, on a run whose tasks have ended."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.sqlalchemy import prohibit_commit
    from airflow.utils.state import DagRunState

    monitored.predict("2013-05")
    run("monitoring", window="2013-05")
    newest = sa.select(DagRun).filter_by(dag_id="late.monitoring").order_by(DagRun.id.desc()).limit(1)
    with create_session() as session:
        again = session.scalars(newest).one()
        again.state, again.dag_run_note = DagRunState.RUNNING, None
        again.run_after -= timedelta(seconds=1)  # SQLite's now() counts whole seconds: to it, the run is in the future
    scheduler = SchedulerJobRunner(job=Job())
    with create_session() as session, prohibit_commit(session) as guard:
        runs = list(DagRun.get_running_dag_runs_to_examine(session=session))
        assert [one.dag_id for one in runs] == ["late.monitoring"]
        scheduler._schedule_all_dag_runs(guard, runs, session)
    with create_session() as session:
        ended = session.scalars(newest).one()
        assert (str(ended.state), ended.note) == ("success", "Evergreen: window 2013-05 is waiting")


class Ended:
    """A run that the scheduler has just ended, in the scheduler's transaction."""

    def __init__(self, name: str, dag_id: str = "late.monitoring", note: str | None = None) -> None:
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState

        self.name, self.dag_id = name, dag_id
        with create_session() as session:
            row = DagRun(
                dag_id=dag_id, run_id=name, run_type="manual", state=DagRunState.RUNNING, run_after=datetime.now(UTC)
            )
            session.add(row)
            if note:
                row.note = (note, "a-person")

    def end(self, listen: Any, msg: str = "success") -> tuple[str, str | None, str | None]:
        """Let the listener see it; the state, note and note's author after the scheduler's commit."""
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState

        query = sa.select(DagRun).filter_by(dag_id=self.dag_id, run_id=self.name)
        with create_session() as session:
            row = session.scalars(query).one()
            row.last_scheduling_decision = row.run_after
            session.flush()
            row.state = DagRunState.SUCCESS
            listen(dag_run=row, msg=msg)
        with create_session() as session:
            row = session.scalars(query).one()
            return str(row.state), row.note, row.dag_run_note.user_id if row.dag_run_note else None


@pytest.mark.parametrize(
    ("stored", "read"),
    [("3", "3"), ('"3"', "3"), ("true", "true"), ("4 of 5", "4 of 5"), ('{"a": 1}', {"a": 1}), ({"a": 1}, {"a": 1})],
)
def test_a_version_stays_text(stored: Any, read: Any) -> None:
    """Before, the text 3 became a number, and a version that was promoted "did not reach production"."""
    assert run_note_listener._decoded(stored) == read


def test_a_persons_note_stays_above_the_line(monitored: MonitoredModel) -> None:
    ended = Ended("with-note", note="asked for by Ada")
    for _time in range(2):  # a cleared run ends twice
        state, note, author = ended.end(run_note_listener.on_dag_run_success)
        assert (state, note) == ("success", "asked for by Ada\nEvergreen: no window measured")
        assert author == "a-person"


def test_a_failing_note_leaves_the_schedulers_transaction_whole(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a person's note were inserted between the look and the insert."""

    def conflict(connection: Any, run: int, *_rest: Any) -> None:
        for _time in range(2):
            connection.execute(sa.text("INSERT INTO dag_run_note VALUES (NULL, :run, 'x', '', '')"), {"run": run})

    monkeypatch.setattr(run_note_listener, "_upsert", conflict)
    assert Ended("conflict").end(run_note_listener.on_dag_run_success) == ("success", None, None)


@pytest.mark.parametrize(
    "dag_id, msg", [("others.monitoring", "success"), ("late.monitoring", "Dag Run's state was manually set to `x`.")]
)
def test_dags_of_others_and_states_set_by_hand_get_no_note(monitored: MonitoredModel, dag_id: str, msg: str) -> None:
    ended = Ended(f"by-hand-{dag_id}", dag_id)
    assert ended.end(run_note_listener.on_dag_run_failed, msg) == ("success", None, None)


def test_airflow_knows_the_listener() -> None:
    from airflow.listeners.listener import get_listener_manager

    assert run_note_listener in get_listener_manager().pm.get_plugins()


def test_a_run_that_belongs_to_no_session_is_let_be() -> None:
    from airflow.models.dagrun import DagRun

    run_note_listener.on_dag_run_success(dag_run=DagRun(dag_id="late.ci", run_id="x"), msg="success")
