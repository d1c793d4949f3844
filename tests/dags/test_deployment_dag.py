"""The deployment and retraining Dags with and without the replay of logged requests and questions to people."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag

from tests.conftest import PROJECT
from tests.support.specs import spec_values


@pytest.fixture
def parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Parse a Dag of a model with these sections."""

    def dag_of(stage: str, **sections: Any) -> Any:
        (tmp_path / "fares").mkdir()
        described = spec_values(name="fares", **sections)
        (tmp_path / "fares" / "model.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
        monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path))
        bag = DagBag(dag_folder=str(PROJECT / "dags" / f"{stage}.py"))
        assert bag.import_errors == {}
        return bag.dags[f"fares.{stage}"]

    return dag_of


@pytest.mark.parametrize("requests", [0, 50])
def test_requests_are_replayed_between_the_test_and_the_canary(parse: Any, requests: int) -> None:
    dag = parse("deployment", deployment={"shadow": {"requests": requests}})
    before = "replay_in_test" if requests else "verify_in_test"
    assert dag.get_task("start_canary").upstream_task_ids == {before}
    assert dag.get_task("clear_test").upstream_task_ids >= {before}
    assert ("replay_in_test" in dag.task_ids) == bool(requests)
    assert "approve_release" not in dag.task_ids
    assert (dag.max_active_runs, dag.dagrun_timeout) == (4, timedelta(hours=6))


@pytest.mark.parametrize("requests", [0, 50])
def test_people_are_asked_between_the_test_and_the_canary(parse: Any, requests: int) -> None:
    approval = {"required": True, "hours": 48.5}
    dag = parse("deployment", deployment={"shadow": {"requests": requests}, "approval": approval})
    before = "replay_in_test" if requests else "verify_in_test"
    asks = dag.get_task("approve_release")
    assert (asks.upstream_task_ids, asks.downstream_task_ids) == ({before}, {"start_canary"})
    assert dag.get_task("start_canary").upstream_task_ids >= {"approve_release"}
    assert asks.response_timeout == timedelta(hours=48.5)
    assert asks.execution_timeout == timedelta(hours=1), "of the process, not of the person"
    assert dag.dagrun_timeout > timedelta(hours=48.5)
    assert dag.max_active_runs >= 16, "waiting runs would hold up a rollback"
    waiting = asks.get_flat_relative_ids(upstream=False)
    assert "clear_test" not in waiting, "the test environment must be free while people think"
    assert "roll_back" not in waiting
    assert "`approve_release`" in dag.doc_md


def test_people_are_asked_before_a_training_where_the_spec_says_so(parse: Any) -> None:
    question = {"hours": 12}
    dag = parse("retraining", degradation={"drop": 0.05, "mode": "ask", "question": question})
    assert [task.task_id for task in dag.topological_sort()] == [
        "degraded_health",
        "approve_retraining",
        "trigger_training",
    ]
    assert dag.get_task("approve_retraining").response_timeout == timedelta(hours=12)
    assert dag.dagrun_timeout == timedelta(hours=18)
    assert dag.max_active_runs >= 16
