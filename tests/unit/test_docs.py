"""What the documentation says about the code is true: generated pages, paths, links, tables and the version."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from docs.generate import DOCS, PAGES
from include.core.spec import ModelSpec, Part
from tests.conftest import PROJECT


def parts_of(base: type[Part]) -> list[type[Part]]:
    """Every part of the spec that the reference has a table for."""
    nested = [one for child in base.__subclasses__() for one in (child, *parts_of(child))]
    return [one for one in nested if one is ModelSpec or one.__name__ in ModelSpec.model_json_schema()["$defs"]]


def tracked() -> set[str]:
    """Every file of the repository, and every folder that holds one."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    files = {name for name in listed if (PROJECT / name).exists()}
    return files | {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}


TRACKED = tracked()
PROSE = sorted(name for name in TRACKED if name.endswith(".md") and not name.startswith("include/models/"))
HISTORY = {"CHANGELOG.md"}  # names what is gone


def text_of(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name):
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run 'make docs' and commit what it writes"


def section(page: str, title: str) -> str:
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("part", parts_of(Part), ids=lambda part: part.__name__)
def test_the_reference_shows_the_real_default_of_every_field(part):
    """Whoever reads that canary.steps is '…' learns nothing."""
    title = "The model" if part is ModelSpec else part.__name__
    rows = dict(re.findall(r"^\| `(\w+)` \| .*? \| (required|`.*?`|the defaults of \[.*?) \| ", section(
        PAGES["model-yaml.md"](), title), re.MULTILINE))  # fmt: skip
    assert set(rows) == {field.alias or name for name, field in part.model_fields.items()}
    for name, field in part.model_fields.items():
        shown = rows[field.alias or name]
        default = field.get_default(call_default_factory=True)
        if field.is_required():
            assert shown == "required", name
        elif isinstance(default, Part):
            assert shown == f"the defaults of [{type(default).__name__}](#{type(default).__name__.lower()})", name
        else:
            assert json.loads(shown.strip("`")) == default, name


def test_the_schema_gives_editors_the_real_defaults():
    schema = json.loads(PAGES["model.schema.json"]())
    assert schema["$defs"]["Canary"]["properties"]["steps"]["default"] == [10, 50]
    assert schema["properties"]["training"]["default"] == {}, "an empty part takes the defaults of its fields"


@pytest.fixture(scope="module")
def dags():
    bag = DagBag(dag_folder=str(PROJECT / "dags"))
    assert bag.dags
    return bag.dags


def test_the_page_of_dags_draws_the_edges_that_the_dags_have(dags):
    """Checks that run at the same time are not a chain."""
    page = PAGES["dags.md"]()
    for dag_id, dag in dags.items():
        drawn = set(re.findall(r"^    (\w+) --> (\w+)$", section(page, dag_id), re.MULTILINE))
        assert drawn == {(task.task_id, below) for task in dag.tasks for below in task.downstream_task_ids}, dag_id


def test_the_page_of_dags_begins_with_an_index_of_their_schedules(dags):
    page = PAGES["dags.md"]()
    index = page.partition("\n## ")[0]
    for dag_id in dags:
        assert f"| [{dag_id}](#{dag_id.replace('.', '')}) |" in index
    assert "asset `flights/build`" in index


@pytest.mark.parametrize("story", ["ci", "training", "deployment", "monitoring", "retraining"])
def test_every_dag_page_has_the_same_four_parts(dags, story):
    page = dags[f"flights.{story}"].doc_md
    assert re.findall(r"^(?:\*\*|### )(Starts|Does|Steps|Makes|When it fails)\b", page, re.MULTILINE) == [
        "Starts",
        "Steps",
        "Makes",
        "When it fails",
    ]


def rooms() -> set[str]:
    """The folders of code: those at the top, those of include/, and those inside its larger rooms."""
    folders = {str(Path(name).parent) for name in TRACKED if name.endswith(".py")}
    return {
        folder
        for one in folders
        for folder in (one, *map(str, Path(one).parents))
        if not folder.startswith(("tests/", "include/models", "plugins/evergreen/"))
    } - {".", "include", "plugins"}


def test_the_table_of_rooms_lists_every_folder_and_no_other():
    """A room that the table leaves out is one that nobody finds."""
    table = section(text_of("docs/architecture.md"), "The rooms")
    listed = {name.rstrip("/") for name in re.findall(r"^\| `([\w./]+)` \|", table, re.MULTILINE)}
    assert listed == rooms()
