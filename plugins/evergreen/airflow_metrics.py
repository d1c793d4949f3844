"""Metrics for Prometheus about the models' Dags and Airflow's own components, read from Airflow's database.

Runs in the api-server, the only process of ours that may query that database.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from airflow.api.common.airflow_health import get_airflow_health
from airflow.configuration import conf
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from croniter import croniter

from include.core.spec import ModelSpec
from include.observability.exposition import Exposition
from include.pages.place import STAGES

ENDED, OPEN = ("success", "failed"), ("queued", "running")
TASK_STATES = ("scheduled", "queued", "running", "up_for_retry", "deferred")


def add_airflow(page: Exposition, specs: Sequence[ModelSpec]) -> None:
    """Add Airflow's metrics to the page, only for Dags of these models."""
    dags = {f"{spec.name}.{stage}": {"model": spec.name, "stage": stage} for spec in specs for stage in STAGES}
    _add_heartbeats(page)
    _add_periods(page, specs)
    with create_session() as session:
        _add_successes(page, session, dags)
        _add_newest(page, session, dags)
        _add_counts(page, session, dags)
        _add_tasks(page, session)


def _add_heartbeats(page: Exposition) -> None:
    text = "Time of the last heartbeat of an Airflow component (Unix time)."
    for component, report in get_airflow_health().items():
        beat = report.get(f"latest_{component}_heartbeat")
        if beat:
            time = datetime.fromisoformat(beat).timestamp()
            page.set("airflow_heartbeat_timestamp_seconds", text, time, component=component)


def _add_periods(page: Exposition, specs: Sequence[ModelSpec]) -> None:
    """Add the time between two scheduled runs of monitoring; nothing if it has no schedule."""
    periods = {schedule: _period(schedule) for schedule in {spec.monitoring.schedule for spec in specs}}
    text = "Time between two scheduled runs."
    for spec in specs:
        labels = {"model": spec.name, "stage": "monitoring"}
        page.set("dag_period_seconds", text, periods[spec.monitoring.schedule], **labels)


def _period(schedule: str | None) -> float | None:
    if schedule is None or not croniter.is_valid(schedule):
        return None
    times = croniter(schedule, datetime.now(UTC))
    first, second = times.get_next(datetime), times.get_next(datetime)
    return float((second - first).total_seconds())


def _add_successes(page: Exposition, session: Any, dags: dict[str, dict[str, str]]) -> None:
    query = sa.select(DagRun.dag_id, sa.func.max(DagRun.end_date)).where(DagRun.dag_id.in_(dags))
    text = "End of the last successful run (Unix time)."
    for dag, ended in session.execute(query.where(DagRun.state == "success").group_by(DagRun.dag_id)):
        page.set("dag_last_success_timestamp_seconds", text, _unix(ended), **dags[dag])


def _add_newest(page: Exposition, session: Any, dags: dict[str, dict[str, str]]) -> None:
    """Add the last finished run of each Dag, with its URL."""
    ended = sa.select(DagRun.dag_id, sa.func.max(DagRun.end_date).label("ended"))
    newest = ended.where(DagRun.dag_id.in_(dags), DagRun.state.in_(ENDED)).group_by(DagRun.dag_id).subquery()
    same = (DagRun.dag_id == newest.c.dag_id) & (DagRun.end_date == newest.c.ended)
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    for run in session.scalars(sa.select(DagRun).join(newest, same)):
        labels = dags[run.dag_id]
        url = f"{base}/dags/{run.dag_id}/runs/{quote(run.run_id, safe='')}"
        text = "1 if the last finished run failed, else 0."
        page.set("dag_last_run_failed", text, run.state == "failed", **labels, run_url=url)
        if run.start_date:
            text = "Duration of the last finished run."
            seconds = (run.end_date - run.start_date).total_seconds()
            page.set("dag_last_run_seconds", text, seconds, **labels)


def _add_counts(page: Exposition, session: Any, dags: dict[str, dict[str, str]]) -> None:
    now = datetime.now(UTC)
    of_ours = sa.select(DagRun.dag_id, DagRun.state, sa.func.count()).where(DagRun.dag_id.in_(dags))
    by = (DagRun.dag_id, DagRun.state)
    counts = {(dag, state): 0 for dag in dags for state in (*ENDED, *OPEN)}
    recent = of_ours.where(DagRun.state.in_(ENDED), DagRun.end_date > now - timedelta(days=1)).group_by(*by)
    opened = of_ours.where(DagRun.state.in_(OPEN)).group_by(*by)
    for query in (recent, opened):
        counts |= {(dag, str(state)): count for dag, state, count in session.execute(query)}
    text = "Number of runs by state: unfinished runs, and runs that finished within the last day."
    for (dag, state), count in counts.items():
        page.set("dag_runs", text, count, **dags[dag], state=state)
    began = sa.func.min(sa.func.coalesce(DagRun.queued_at, DagRun.start_date))
    waiting = dict.fromkeys(dags, 0.0)
    query = sa.select(DagRun.dag_id, began).where(DagRun.dag_id.in_(dags), DagRun.state.in_(OPEN))
    for dag, since in session.execute(query.group_by(DagRun.dag_id)):
        waiting[dag] = max(0.0, now.timestamp() - (_unix(since) or now.timestamp()))
    for dag, seconds in waiting.items():
        text = "Age of the oldest unfinished run, including its time in the queue."
        page.set("dag_oldest_open_seconds", text, seconds, **dags[dag])


def _add_tasks(page: Exposition, session: Any) -> None:
    query = sa.select(TaskInstance.state, sa.func.count()).where(TaskInstance.state.in_(TASK_STATES))
    counts = {**dict.fromkeys(TASK_STATES, 0), **dict(session.execute(query.group_by(TaskInstance.state)).all())}
    for state, count in counts.items():
        page.set("airflow_tasks", "Number of tasks of all Dags, by state.", count, state=str(state))


def _unix(time: Any) -> float | None:
    """Unix time. SQLite returns aggregates of times as text, and times without a zone are UTC."""
    if time is None:
        return None
    parsed = datetime.fromisoformat(time) if isinstance(time, str) else time
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
