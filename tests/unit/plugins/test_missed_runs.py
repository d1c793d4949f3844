"""Which Dags are queued for events that Airflow dropped, and which may start runs again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from airflow.models.asset import AssetDagRunQueue, AssetEvent, AssetModel, DagScheduleAssetReference
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunType
from sqlalchemy.orm import Session

from evergreen.missed_runs import DroppedEvents, allow_runs

BUNDLE, DAG = "missed-runs", "tides.training"
NOW = datetime.now(UTC)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


@pytest.fixture
def session() -> Iterator[Session]:
    """Airflow's database with a Dag that waits for the assets ``build`` and ``data``; nothing in it is kept."""
    initdb()
    with create_session() as session:
        session.add(DagBundleModel(name=BUNDLE))
        session.flush()
        session.add(DagModel(dag_id=DAG, bundle_name=BUNDLE, is_stale=False, is_paused=False, max_active_runs=1))
        for name in ("build", "data"):
            session.add(AssetModel(name=f"tides/{name}", uri=f"evergreen://tides/{name}", group="evergreen"))
        session.flush()
        for asset in assets(session).values():
            session.add(DagScheduleAssetReference(asset_id=asset, dag_id=DAG, created_at=ago(1_000)))
        session.flush()
        yield session
        session.rollback()


def assets(session: Session) -> dict[str, int]:
    rows = session.execute(sa.select(AssetModel.name, AssetModel.id).where(AssetModel.name.like("tides/%")))
    return {name.removeprefix("tides/"): number for name, number in rows}


def event(session: Session, asset: str, minutes: float) -> None:
    """An event of so many minutes ago."""
    session.add(AssetEvent(asset_id=assets(session)[asset], extra={}, timestamp=ago(minutes)))
    session.flush()


def run(session: Session, minutes: float, kind: DagRunType = DagRunType.ASSET_TRIGGERED) -> DagRun:
    """A run that took events up to so many minutes ago."""
    made = DagRun(dag_id=DAG, run_id=f"{kind}-{minutes}", run_type=kind, run_after=ago(minutes), logical_date=None)
    made.state = DagRunState.SUCCESS
    session.add(made)
    session.flush()
    return made


def queue(session: Session, asset: str, minutes: float) -> None:
    session.add(AssetDagRunQueue(asset_id=assets(session)[asset], target_dag_id=DAG, created_at=ago(minutes)))
    session.flush()


def queued(session: Session) -> dict[str, datetime]:
    """The assets for which the Dag is queued, and since when."""
    session.expire_all()
    names = {number: name for name, number in assets(session).items()}
    rows = session.scalars(sa.select(AssetDagRunQueue).where(AssetDagRunQueue.target_dag_id == DAG))
    return {names[row.asset_id]: row.created_at for row in rows}


def pause(session: Session, *, paused: bool) -> None:
    session.execute(sa.update(DagModel).where(DagModel.dag_id == DAG).values(is_paused=paused))


def test_an_event_that_no_run_has_had_is_queued_and_one_that_a_run_has_had_is_not(session: Session) -> None:
    dropped = DroppedEvents()
    event(session, "build", 20)
    run(session, 19)
    assert dropped.queue(session, BUNDLE) == set()
    event(session, "data", 10)
    assert dropped.queue(session, BUNDLE) == {DAG}
    assert queued(session) == {"data": ago(10)}
    assert dropped.queue(session, BUNDLE) == set(), "queued once"


def test_a_run_by_hand_has_had_no_events(session: Session) -> None:
    event(session, "build", 20)
    run(session, 10, DagRunType.MANUAL)
    assert DroppedEvents().queue(session, BUNDLE) == {DAG}


def test_a_paused_dag_is_queued_once_it_is_resumed_however_long_that_took(session: Session) -> None:
    dropped = DroppedEvents()
    pause(session, paused=True)
    event(session, "build", 900)
    assert dropped.queue(session, BUNDLE) == set()
    pause(session, paused=False)
    assert dropped.queue(session, BUNDLE) == {DAG}


def test_a_dag_that_waits_for_its_turn_gets_the_newest_event_too(session: Session) -> None:
    queue(session, "build", 20)
    event(session, "build", 20)
    event(session, "build", 15)
    assert DroppedEvents().queue(session, BUNDLE) == {DAG}
    assert queued(session) == {"build": ago(15)}


def test_a_run_that_was_removed_does_not_start_again(session: Session) -> None:
    dropped = DroppedEvents()
    event(session, "build", 20)
    removed = run(session, 19)
    dropped.queue(session, BUNDLE)
    session.delete(removed)
    assert dropped.queue(session, BUNDLE) == set()


def test_the_first_look_leaves_old_events_alone_whose_runs_may_have_been_removed(session: Session) -> None:
    dropped = DroppedEvents()
    event(session, "build", 90)
    assert dropped.queue(session, BUNDLE) == set()
    assert dropped.queue(session, BUNDLE) == set(), "nor does the second"
    event(session, "build", 1)
    assert dropped.queue(session, BUNDLE) == {DAG}


def test_events_from_before_the_dag_waited_for_the_asset_and_other_bundles_do_not_count(session: Session) -> None:
    event(session, "build", 2_000)
    assert DroppedEvents(recent=None).queue(session, BUNDLE) == set()
    event(session, "build", 1)
    assert DroppedEvents(recent=None).queue(session, "another") == set()


@pytest.mark.parametrize("state", [DagRunState.QUEUED, DagRunState.RUNNING, DagRunState.FAILED])
def test_a_dag_may_start_runs_again_if_fewer_are_active_than_it_may_have(session: Session, state: DagRunState) -> None:
    run(session, 10).state = state
    session.execute(sa.update(DagModel).where(DagModel.dag_id == DAG).values(exceeds_max_non_backfill=True))
    session.flush()
    held = state != DagRunState.FAILED
    assert allow_runs(session, BUNDLE) == (set() if held else {DAG})
    held_now = session.scalar(sa.select(DagModel.exceeds_max_non_backfill).where(DagModel.dag_id == DAG))
    assert held_now is held
