"""What Airflow's database says of the models' DAGs and of Airflow's own parts, as figures for Prometheus.

Runs in the api-server, which alone of what we run may ask that database.
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

STORIES = ("ci", "training", "deployment", "monitoring", "retraining")
ENDED, OPEN = ("success", "failed"), ("queued", "running")
TASK_STATES = ("scheduled", "queued", "running", "up_for_retry", "deferred")


def add_airflow(page: Exposition, specs: Sequence[ModelSpec]) -> None:
    """Add Airflow's figures to the page; nothing of DAGs that are not of these models."""
    dags = {f"{spec.name}.{story}": {"model": spec.name, "story": story} for spec in specs for story in STORIES}
    _add_parts(page)
    for spec in specs:
        _add_period(page, spec)
    with create_session() as session:
        _add_successes(page, session, dags)
        _add_newest(page, session, dags)
        _add_counts(page, session, dags)
        _add_tasks(page, session)


def _add_parts(page: Exposition) -> None:
    text = "When this part of Airflow last reported (Unix time)."
    for part, report in get_airflow_health().items():
        beat = report.get(f"latest_{part}_heartbeat")
        if beat:
            moment = datetime.fromisoformat(beat).timestamp()
            page.set("airflow_heartbeat_timestamp_seconds", text, moment, part=part)


def _add_period(page: Exposition, spec: ModelSpec) -> None:
    """How far apart two scheduled runs of monitoring are; nothing where it has no schedule."""
    if spec.monitoring.schedule is None or not croniter.is_valid(spec.monitoring.schedule):
        return
    times = croniter(spec.monitoring.schedule, datetime.now(UTC))
    first, second = times.get_next(datetime), times.get_next(datetime)
    text = "Time between two scheduled runs."
    labels = {"model": spec.name, "story": "monitoring"}
    page.set("dag_period_seconds", text, (second - first).total_seconds(), **labels)


def _add_successes(page: Exposition, session: Any, dags: dict[str, dict[str, str]]) -> None:
    query = sa.select(DagRun.dag_id, sa.func.max(DagRun.end_date)).where(DagRun.dag_id.in_(dags))
    text = "When the newest successful run ended (Unix time)."
    for dag, ended in session.execute(query.where(DagRun.state == "success").group_by(DagRun.dag_id)):
        page.set("dag_last_success_timestamp_seconds", text, _unix(ended), **dags[dag])


def _add_newest(page: Exposition, session: Any, dags: dict[str, dict[str, str]]) -> None:
    """The newest run of each DAG that has ended, with the way to it."""
    ended = sa.select(DagRun.dag_id, sa.func.max(DagRun.end_date).label("ended"))
    newest = ended.where(DagRun.dag_id.in_(dags), DagRun.state.in_(ENDED)).group_by(DagRun.dag_id).subquery()
    same = (DagRun.dag_id == newest.c.dag_id) & (DagRun.end_date == newest.c.ended)
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    for run in session.scalars(sa.select(DagRun).join(newest, same)):
        labels = dags[run.dag_id]
        url = f"{base}/dags/{run.dag_id}/runs/{quote(run.run_id, safe='')}"
        text = "1 when the newest run that has ended failed, 0 when it did not."
        page.set("dag_last_run_failed", text, run.state == "failed", **labels, run_url=url)
        if run.start_date:
            text = "How long the newest run that has ended took."
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
    text = "Runs by state: open ones, and those that ended within a day."
    for (dag, state), count in counts.items():
        page.set("dag_runs", text, count, **dags[dag], state=state)
    began = sa.func.min(sa.func.coalesce(DagRun.queued_at, DagRun.start_date))
    waiting = dict.fromkeys(dags, 0.0)
    query = sa.select(DagRun.dag_id, began).where(DagRun.dag_id.in_(dags), DagRun.state.in_(OPEN))
    for dag, since in session.execute(query.group_by(DagRun.dag_id)):
        waiting[dag] = max(0.0, now.timestamp() - (_unix(since) or now.timestamp()))
    for dag, seconds in waiting.items():
        text = "How long the oldest run that has not ended is under way, with its time in the queue."
        page.set("dag_oldest_open_seconds", text, seconds, **dags[dag])


def _add_tasks(page: Exposition, session: Any) -> None:
    query = sa.select(TaskInstance.state, sa.func.count()).where(TaskInstance.state.in_(TASK_STATES))
    counts = {**dict.fromkeys(TASK_STATES, 0), **dict(session.execute(query.group_by(TaskInstance.state)).all())}
    for state, count in counts.items():
        page.set("airflow_tasks", "Tasks of all DAGs by state.", count, state=str(state))


def _unix(moment: Any) -> float | None:
    """SQLite gives aggregates of times as text, and times without zone are UTC."""
    if moment is None:
        return None
    found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
