"""The page that Prometheus asks for: who gets it, and what stands there, from a real store and Airflow's database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.monitored_model import MonitoredModel

pytestmark = pytest.mark.integration
BOUNDED = {
    "model",
    "version",
    "metric",
    "status",
    "feature",
    "window",
    "answer",
    "incident",
    "stage",
    "state",
    "component",
}


@pytest.fixture(scope="module")
def database() -> None:
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def client(database: Any, monitored: MonitoredModel) -> Any:
    from fastapi.testclient import TestClient

    from evergreen.web import app

    (monitored.home / "secrets").mkdir()
    (monitored.home / "secrets" / "prediction_token").write_text("the-token\n", encoding="utf-8")
    return TestClient(app)


def test_a_runbook_is_a_text_for_whoever_is_logged_in_and_no_other_file_is(client: Any) -> None:
    from airflow.api_fastapi.core_api.security import get_user

    from evergreen.web import app

    app.dependency_overrides[get_user] = lambda: None
    try:
        answer = client.get("/runbooks/DiskFilling.md")
        assert answer.text.startswith("# DiskFilling")
        assert answer.headers["content-type"].startswith("text/plain")
        for name in ("NoSuchAlert.md", "..%2Fmonitoring.md", "..%2F..%2F.env"):
            assert client.get(f"/runbooks/{name}").status_code == 404, name
    finally:
        app.dependency_overrides.clear()


def samples(client: Any) -> dict[tuple[Any, ...], float]:
    """Name and labels of each sample → its value."""
    answer = client.get("/metrics", headers={"Authorization": "Bearer the-token"})
    assert answer.status_code == 200, answer.text
    families = text_string_to_metric_families(answer.text)
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def figures(client: Any, name: str) -> list[float]:
    return [value for (found, *_), value in samples(client).items() if found == f"evergreen_{name}"]


@pytest.fixture
def run(database: Any) -> Iterator[Any]:
    """Makes a run of a DAG in Airflow's database, that began and ended so many seconds ago."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState

    made = []

    def make(dag: str, name: str, state: str, began: float, ended: float | None = None) -> None:
        now = datetime.now(UTC)
        ago = {"queued_at": began, "start_date": began, "end_date": ended}
        with create_session() as session:
            row = DagRun(dag_id=dag, run_id=name, run_type="manual", state=DagRunState(state), run_after=now)
            for field, seconds in ago.items():
                setattr(row, field, None if seconds is None else now - timedelta(seconds=seconds))
            session.add(row)
        made.append(name)

    yield make
    with create_session() as session:
        session.query(DagRun).filter(DagRun.run_id.in_(made)).delete()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}])
def test_nobody_gets_the_metrics_without_the_token(client: Any, headers: Any) -> None:
    assert client.get("/metrics", headers=headers).status_code == 401


def test_the_newest_window_is_there_with_bounded_labels(client: Any, monitored: MonitoredModel) -> None:
    monitored.month("2013-04")
    monitored.month("2013-05")
    found = samples(client)
    labels = (("metric", "roc_auc"), ("model", "late"), ("version", "1"))
    value = monitored.health("2013-05").by_version["1"]["roc_auc"].value
    assert found[("evergreen_health_quality", *labels)] == pytest.approx(value)
    assert found[("evergreen_health_status", ("model", "late"), ("status", "complete"))] == 1
    assert found[("evergreen_policy_verdict", ("answer", "pass"), ("model", "late"))] == 1
    assert found[("evergreen_health_window_quality", ("model", "late"), ("window", "2013-05"))] == pytest.approx(value)
    assert {label for _, *labels in found for label, _ in labels} <= BOUNDED
    assert len(figures(client, "health_window_quality")) == 2


def test_a_model_without_health_has_no_figures_of_it_and_is_no_error(client: Any) -> None:
    assert figures(client, "drop_allowed") == [0.05]
    assert figures(client, "health_quality") == []


def test_degraded_health_is_a_verdict_and_a_distance(client: Any, monitored: MonitoredModel) -> None:
    monitored.month("2013-04", noise=2.0)
    monitored.month("2013-05", noise=2.0)
    assert samples(client)[("evergreen_policy_verdict", ("answer", "fail"), ("model", "late"))] == 1
    assert figures(client, "health_worse_by")[0] > figures(client, "drop_allowed")[0]


def test_truth_that_is_overdue_is_counted(client: Any, monitored: MonitoredModel) -> None:
    monitored.predict("2013-04")
    monitored.monitor("2013-04")
    assert figures(client, "health_overdue_windows") == [1]
    assert figures(client, "health_worse_by") == []


def test_heartbeats_come_from_runs_that_succeeded(client: Any, run: Any) -> None:
    run("late.monitoring", "good", "success", 4000, 3600)
    run("late.monitoring", "bad", "failed", 100, 60)
    run("other.monitoring", "foreign", "success", 5, 1)
    now = datetime.now(UTC).timestamp()
    (beat,) = figures(client, "dag_last_success_timestamp_seconds")
    assert now - beat == pytest.approx(3600, abs=30)
    failed = [(dict(labels), v) for (n, *labels), v in samples(client).items() if n == "evergreen_dag_last_run_failed"]
    assert [value for _, value in failed] == [1]
    assert failed[0][0]["run_url"].endswith("/dags/late.monitoring/runs/bad")


def test_the_queue_of_ci_is_its_open_runs_and_the_age_of_the_oldest(client: Any, run: Any) -> None:
    run("late.ci", "first", "running", 900)
    run("late.ci", "second", "queued", 300)
    found = samples(client)
    oldest = found[("evergreen_dag_oldest_open_seconds", ("model", "late"), ("stage", "ci"))]
    assert oldest == pytest.approx(900, abs=30)
    counts = {
        dict(labels)["state"]: value
        for (name, *labels), value in found.items()
        if name == "evergreen_dag_runs" and dict(labels)["stage"] == "ci"
    }
    assert counts == {"queued": 1, "running": 1, "success": 0, "failed": 0}


def test_monitoring_with_a_schedule_says_how_often_it_must_succeed(client: Any) -> None:
    assert figures(client, "dag_period_seconds") == [86400]
