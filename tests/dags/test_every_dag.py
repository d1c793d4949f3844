"""What every DAG owes its readers and its operators; one DAG that forgets it fails here."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.core.run_params import PARAMS_OF, read_params
from include.core.spec import ModelSpec
from tests.conftest import PROJECT

STAGES = ("ci", "training", "deployment", "monitoring", "retraining")
PLATFORM = "evergreen.housekeeping"
"""The Dag that belongs to no model."""


@pytest.fixture(scope="module")
def bag() -> Any:
    return DagBag(dag_folder=str(PROJECT / "dags"))


def all_dags(bag: Any) -> Any:
    assert bag.dags, "no DAG was found at all"
    return bag.dags.values()


def test_no_dag_file_fails_to_import(bag: Any) -> None:
    assert bag.import_errors == {}


def test_each_model_has_its_five_stories(bag: Any) -> None:
    assert set(bag.dags) == {f"flights.{stage}" for stage in STAGES} | {PLATFORM}


def test_every_dag_has_a_page_with_a_part_for_the_person_on_call(bag: Any) -> None:
    lacking = [dag.dag_id for dag in all_dags(bag) if "### When it fails" not in (dag.doc_md or "")]
    assert lacking == []


def test_every_dag_has_tags_and_a_description(bag: Any) -> None:
    for dag in all_dags(bag):
        own = {"evergreen"} if dag.dag_id == PLATFORM else {"evergreen", "model:flights"}
        assert own <= set(dag.tags), dag.dag_id
        assert dag.dag_id == PLATFORM or dag.description.startswith("flights: "), dag.dag_id
        assert dag.description.endswith("."), dag.dag_id


def test_every_task_has_the_models_owner_and_a_time_limit(bag: Any, spec: ModelSpec) -> None:
    for dag in all_dags(bag):
        for task in dag.tasks:
            assert task.owner == ("evergreen" if dag.dag_id == PLATFORM else spec.owner), task
            assert task.execution_timeout is not None, task


def test_every_task_retries_by_policy(bag: Any) -> None:
    for dag in all_dags(bag):
        for task in dag.tasks:
            assert task.retries >= 1, task
            assert task.retry_policy is not None, task


def test_every_dag_tells_someone_when_it_fails_and_ends_in_time(bag: Any) -> None:
    for dag in all_dags(bag):
        assert dag.has_on_failure_callback or dag.on_failure_callback, dag.dag_id
        assert dag.dagrun_timeout is not None, dag.dag_id


def test_every_param_is_typed_and_described(bag: Any) -> None:
    for dag in all_dags(bag):
        for name in dag.params:
            param = dag.params.get_param(name)
            assert param.description, f"{dag.dag_id}: {name}"
            assert "type" in param.schema, f"{dag.dag_id}: {name}"
        assert dag.params, f"{dag.dag_id} has no form"


def test_every_form_can_be_submitted_untouched(bag: Any) -> None:
    """Airflow's form takes a field without a default as required, unless null is among its types, and stays grey."""
    for dag in all_dags(bag):
        for name in dag.params:
            param = dag.params.get_param(name)
            assert param.schema.get("title"), f"{dag.dag_id}: {name} has no title"
            assert "null" in param.schema["type"], f"{dag.dag_id}: {name} is required"
            assert param.value not in ("", "None"), f"{dag.dag_id}: {name} must be null where nothing is said"
            param.resolve()
        dag.params.validate()


def test_every_param_of_a_form_is_one_that_the_dags_first_task_reads(bag: Any) -> None:
    """What the form offers and what the rules know are the same; null means the default, in every field."""
    for dag in all_dags(bag):
        kind = PARAMS_OF[dag.dag_id.partition(".")[2]]
        assert set(dag.params) == {one.name for one in fields(kind)} - {"signals"}, dag.dag_id
        assert read_params(kind, dict(dag.params)) == kind(), dag.dag_id
        assert read_params(kind, dict.fromkeys(dag.params)) == kind(), dag.dag_id


def test_templates_of_untouched_text_fields_are_empty_and_lose_spaces(bag: Any) -> None:
    """A null param must not be rendered as the word None."""
    templated = 0
    for dag in all_dags(bag):
        for given, expected in ((None, ""), ("", ""), ("  2013-05 ", "2013-05")):
            params = dict.fromkeys(dag.params, given)
            for task in dag.tasks:
                for field in task.template_fields:
                    text = getattr(task, field)
                    if isinstance(text, str) and "params." in text and "again" not in text:
                        templated += 1
                        assert task.render_template(text, {"params": params}) == expected, f"{task}: {field}"
    assert templated


def assets_in(condition: Any) -> Any:
    """The assets of a schedule: it is one of them, or a combination of several."""
    return (
        [inner for part in condition.objects for inner in assets_in(part)]
        if hasattr(condition, "objects")
        else [condition]
    )


def test_the_stages_are_joined_by_assets(bag: Any) -> None:
    """The arrows of the loop: what starts each stage is what the one before makes."""
    starts = {
        "flights.training": "flights/build",
        "flights.deployment": "flights/candidate",
        "flights.retraining": "flights/health",
        "flights.ci": "flights/commit",
    }
    for dag_id, asset in starts.items():
        conditions = {asset.name for asset in assets_in(bag.dags[dag_id].timetable.asset_condition)}
        assert asset in conditions, dag_id
    made = {outlet.name for dag in all_dags(bag) for task in dag.tasks for outlet in task.outlets}
    assert {"flights/build", "flights/candidate", "flights/release", "flights/health"} <= made


HEAVY = ("pandas", "pyarrow", "sklearn", "mlflow", "great_expectations", "matplotlib", "scipy.stats")
ROUTES = (
    "evergreen.web, evergreen.airflow_metrics, include.observability.exposition, include.observability.health_metrics"
)


@pytest.mark.parametrize(
    ("imported", "heavy"),
    [
        pytest.param("ci, training, deployment, monitoring, retraining", (*HEAVY, "numpy", "scipy"), id="Dag files"),
        pytest.param("evergreen.models_bundle", (*HEAVY, "numpy", "scipy"), id="the Dag processor's bundle"),
        pytest.param("include.embedded.watchdog", (*HEAVY, "sqlalchemy", "pydantic"), id="the watchdog's parent"),
        pytest.param(ROUTES, HEAVY, id="routes of the api-server, which every platform runs all day"),
    ],
)
def test_what_runs_all_day_makes_no_heavy_import(imported: str, heavy: tuple[str, ...]) -> None:
    import subprocess
    import sys

    code = (
        f"import sys; sys.path[:0] = [{str(PROJECT)!r}, {str(PROJECT)!r} + '/plugins', {str(PROJECT)!r} + '/dags']\n"
        f"import {imported}\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_a_wrong_spec_takes_down_its_own_models_dags_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other model's DAGs stay, and the mistake is shown as an import error with its line."""
    import shutil

    for name in ("flights", "broken"):
        (tmp_path / name).mkdir()
        shutil.copy(PROJECT / "include" / "models" / "flights" / "model.yaml", tmp_path / name / "model.yaml")
    text = (tmp_path / "broken" / "model.yaml").read_text(encoding="utf-8")
    text = text.replace("name: flights", "name: broken", 1).replace("task: binary_classification", "task: guessing")
    (tmp_path / "broken" / "model.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path))
    bag = DagBag(dag_folder=str(PROJECT / "dags"))
    assert set(bag.dags) == {f"flights.{stage}" for stage in STAGES} | {PLATFORM}
    (shown,) = bag.import_errors.values()
    assert "broken/model.yaml:" in shown
    assert "task" in shown
