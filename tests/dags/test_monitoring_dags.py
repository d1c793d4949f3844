"""monitoring and retraining as Airflow sees them."""

import itertools
from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture(scope="module", params=["monitoring", "retraining"])
def dag(request: pytest.FixtureRequest) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=DAGS / f"{request.param}.py")
    assert bag.import_errors == {}
    return bag.dags[f"flights.{request.param}"]


def test_the_page_says_what_to_do_when_it_fails(dag: Any) -> None:
    assert "### When it fails" in dag.doc_md
    for task in dag.task_ids:
        assert f"`{task}`" in dag.doc_md, f"the page does not name the task {task}"


def test_every_parameter_is_described(dag: Any) -> None:
    assert dag.params
    for name in dag.params:
        assert dag.params.get_param(name).description, f"{dag.dag_id} has no description of {name}"


def test_the_steps_stand_in_order(dag: Any) -> None:
    steps = {
        "flights.monitoring": ["gather_predictions", "measure_health", "publish_health", "check_measurement"],
        "flights.retraining": ["degraded_health", "trigger_training"],
    }[dag.dag_id]
    assert [task.task_id for task in dag.topological_sort()] == steps
    for before, after in itertools.pairwise(steps):
        assert after in dag.get_task(before).downstream_task_ids


def test_monitoring_publishes_the_asset_that_retraining_waits_for() -> None:
    from airflow.dag_processing.dagbag import DagBag

    monitoring = DagBag(dag_folder=DAGS / "monitoring.py").dags["flights.monitoring"]
    retraining = DagBag(dag_folder=DAGS / "retraining.py").dags["flights.retraining"]
    published = monitoring.get_task("publish_health").outlets
    assert [asset.name for asset in published] == ["flights/health"]
    assert published[0] in list(retraining.timetable.asset_condition.objects)


def test_retraining_waits_without_holding_a_worker() -> None:
    from airflow.dag_processing.dagbag import DagBag

    sensor = DagBag(dag_folder=DAGS / "retraining.py").dags["flights.retraining"].get_task("degraded_health")
    assert sensor.mode == "reschedule"
