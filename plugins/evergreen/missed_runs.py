"""Runs that are due, and that Airflow 3.3.2 would not start by itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import sqlalchemy as sa
from airflow.models.asset import AssetDagRunQueue, AssetEvent, DagScheduleAssetReference
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunType
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

RECENT = timedelta(hours=1)


@dataclass
class DroppedEvents:
    """Queues Dags for asset events that Airflow recorded and let no run have.

    Airflow queues no Dag that is paused, and does not make up for it when the Dag is resumed (its issue 49857). For a
    Dag that is queued already, since another run of it is active, the time of the first event is kept: the next run
    has no later events, and ends the queue (issue 56050). An event has been handled if a run that events have started
    is as new as the event.
    """

    handled: dict[str, datetime] = field(default_factory=dict)
    """Dag → the time of the newest such run that was ever seen: a run that a person removes does not start again."""
    recent: datetime | None = field(default_factory=lambda: datetime.now(UTC) - RECENT)
    """Only of events since then, the first look takes those of Dags that are not paused for dropped: of older ones, the
    runs may have been removed."""

    def queue(self, session: Session, bundle: str) -> set[str]:
        """Queue each Dag of the bundle that is not paused for the newest event of every asset of its schedule.

        Returns the Dags that were not queued, or for an older event.
        """
        waits, queue, late = DagScheduleAssetReference, AssetDagRunQueue, set()
        newest_event = sa.select(sa.func.max(AssetEvent.timestamp)).where(AssetEvent.asset_id == waits.asset_id)
        events = session.execute(
            sa.select(waits.asset_id, waits.dag_id, newest_event.scalar_subquery(), queue.created_at)
            .join(DagModel, DagModel.dag_id == waits.dag_id)
            .outerjoin(queue, (queue.asset_id == waits.asset_id) & (queue.target_dag_id == waits.dag_id))
            .where(DagModel.bundle_name == bundle, ~DagModel.is_stale, ~DagModel.is_paused)
            .where(newest_event.scalar_subquery() > waits.created_at)
        ).all()
        # Afterwards: Airflow starts a run and ends the queue in one transaction.
        newest_run = sa.select(DagRun.dag_id, sa.func.max(DagRun.run_after))
        newest_run = newest_run.where(DagRun.run_type == DagRunType.ASSET_TRIGGERED).group_by(DagRun.dag_id)
        for dag, time in session.execute(newest_run):
            self.handled[dag] = max(time, self.handled.get(dag, time))
        for asset, dag, time, queued in events:
            if self.recent:
                self.handled[dag] = max(self.recent, self.handled.get(dag, self.recent))
            known = queued or self.handled.get(dag)
            if known is None or known < time:
                _queue(session, asset, dag, time)
                late.add(dag)
        self.recent = None
        return late


def _queue(session: Session, asset: int, dag: str, time: datetime) -> None:
    """Queue the Dag for an event, or for it, too, if it is queued for an older one."""
    queue = AssetDagRunQueue
    older = (queue.asset_id == asset) & (queue.target_dag_id == dag) & (queue.created_at < time)
    if cast("sa.CursorResult[Any]", session.execute(sa.update(queue).where(older).values(created_at=time))).rowcount:
        return
    with suppress(IntegrityError), session.begin_nested():  # queued at this moment, for an event that is newer
        session.add(queue(asset_id=asset, target_dag_id=dag, created_at=time))


def allow_runs(session: Session, bundle: str) -> set[str]:
    """Let each Dag start runs that has fewer active ones than it may; return those that Airflow held back.

    Airflow notes that a Dag has as many as it may when a run starts or the file is parsed. It takes that back when a
    run ends by itself, and not when a person marks it as failed or as success, or removes it; else with the next parse.

    :param bundle: name of the bundle of Dags.
    """
    active = (
        sa.select(sa.func.count())
        .where(
            DagRun.dag_id == DagModel.dag_id,
            DagRun.state.in_((DagRunState.QUEUED, DagRunState.RUNNING)),
            DagRun.run_type != DagRunType.BACKFILL_JOB,
        )
        .scalar_subquery()
    )
    held = sa.select(DagModel.dag_id).where(
        DagModel.bundle_name == bundle, DagModel.exceeds_max_non_backfill, active < DagModel.max_active_runs
    )
    if dags := {*session.scalars(held)}:
        session.execute(sa.update(DagModel).where(DagModel.dag_id.in_(dags)).values(exceeds_max_non_backfill=False))
    return dags
