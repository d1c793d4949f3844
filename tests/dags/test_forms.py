"""What the trigger forms suggest, from a file alone; a stale or missing one refuses nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag

from evergreen.run_params import suggested_param
from include.adapters.choices_file import choices_file, write_choices
from include.core.choices import Choices
from include.core.run_params import read_params
from tests.conftest import PROJECT
from tests.support.specs import spec_values

SUGGESTED = {
    ("deployment", "version"): "versions",
    ("deployment", "to"): "releases",
    ("training", "build"): "builds",
    ("training", "window"): "data",
    ("monitoring", "window"): "windows",
}
"""Story and field → the part of the choices that it suggests."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the model ``fares``; its store and its registry can't be reached."""
    (tmp_path / "models" / "fares").mkdir(parents=True)
    text = yaml.safe_dump(spec_values(name="fares", monitoring={"schedule": "0 4 * * *"}))
    (tmp_path / "models" / "fares" / "model.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("EVERGREEN_STORE_URL", "postgresql+psycopg2://nowhere.invalid/evergreen")
    monkeypatch.setenv("EVERGREEN_MLFLOW_URL", "http://127.0.0.1:9")
    return tmp_path


def param(story: str, name: str) -> Any:
    bag = DagBag(dag_folder=str(PROJECT / "dags" / f"{story}.py"))
    assert bag.import_errors == {}
    return bag.dags[f"fares.{story}"].params.get_param(name)


@pytest.mark.parametrize(("story", "name"), SUGGESTED)
def test_a_field_suggests_its_part_and_accepts_what_is_newer(home: Path, story: str, name: str) -> None:
    part = SUGGESTED[story, name]
    write_choices(home / "choices", "fares", {part: (f"{part} · known", "1")})  # type: ignore[dict-item]
    found = param(story, name)
    assert found.schema["examples"] == [f"{part} · known", "1"]
    assert "enum" not in found.schema, "a stale list must not refuse what exists by now"
    assert found.resolve("registered a second ago") == "registered a second ago"
    assert param(story, name).resolve() is None, "an empty form does the usual"


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"versions": "3", "builds": [{}]}'])
def test_a_missing_or_damaged_file_suggests_nothing_and_the_dag_is_parsed(home: Path, content: str | None) -> None:
    if content is not None:
        choices_file(home / "choices", "fares").parent.mkdir()
        choices_file(home / "choices", "fares").write_text(content, encoding="utf-8")
    for story, name in SUGGESTED:
        assert "examples" not in param(story, name).schema, f"the form of {story} would ask to pick from nothing"


def test_every_field_with_suggestions_is_read_without_their_notes(home: Path) -> None:
    from include.core.run_params import PARAMS_OF

    for story, name in SUGGESTED:
        assert getattr(read_params(PARAMS_OF[story], {name: "x-1 · noted"}), name) == "x-1", (story, name)
    assert set(SUGGESTED.values()) == set(Choices.__dataclass_fields__)


@pytest.mark.parametrize(
    ("given", "value"), [(None, ""), ("", ""), (" 2013-05 ", "2013-05"), ("2013-05 · complete", "2013-05")]
)
def test_templates_of_fields_with_suggestions_render_the_value_alone(home: Path, given: Any, value: str) -> None:
    dag = DagBag(dag_folder=str(PROJECT / "dags" / "monitoring.py")).dags["fares.monitoring"]
    task = dag.get_task("measure_health")
    assert task.window == suggested_param("window")
    assert task.render_template(task.window, {"params": {"window": given}}) == value


def test_no_dag_goes_by_a_logical_date() -> None:
    """The pages say that it does not matter which one is entered in the form."""
    read = re.compile(r"logical_date(?!\"?[=:] ?None)|data_interval|\{\{ *(ds|ts)\b")
    files = [path for folder in ("dags", "plugins", "include") for path in (PROJECT / folder).rglob("*.py")]
    assert len(files) > 100
    found = [str(path) for path in files if read.search(path.read_text(encoding="utf-8").replace("`logical_date`", ""))]
    assert found == []


def test_only_dags_with_a_timetable_can_be_backfilled_and_their_pages_say_what_that_does(home: Path) -> None:
    bag = DagBag(dag_folder=str(PROJECT / "dags"))
    timed = {dag.dag_id for dag in bag.dags.values() if isinstance(dag.schedule, str)}
    assert timed == {"fares.monitoring", "evergreen.housekeeping"}
    assert all("*backfill*" in (bag.dags[dag_id].doc_md or "") for dag_id in timed)
