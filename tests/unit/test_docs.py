"""What the documentation says about the code is true: generated pages, paths, links, tables and the version."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag

from docs.generate import DOCS, PAGES
from include.core.metric_names import CLASSIFICATION_METRICS, REGRESSION_METRICS
from include.core.spec import ModelSpec, SpecSection
from include.settings import Settings
from tests.conftest import PROJECT


def sections_of(base: type[SpecSection]) -> list[type[SpecSection]]:
    """Every part of the spec that the reference has a table for."""
    nested = [one for child in base.__subclasses__() for one in (child, *sections_of(child))]
    return [one for one in nested if one is ModelSpec or one.__name__ in ModelSpec.model_json_schema()["$defs"]]


NOT_OURS = re.compile(r"\.git/|\.venv/|\.evergreen|.*(__pycache__|_cache/|\.hypothesis/)")


def tracked() -> set[str]:
    """Every file of the repository, and every folder that holds one; walks the folder if it is not a Git checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    files = {name for name in listed.stdout.splitlines() if (PROJECT / name).exists()}
    if listed.returncode != 0:
        everything = (str(path.relative_to(PROJECT)) for path in PROJECT.rglob("*") if path.is_file())
        files = {name for name in everything if not NOT_OURS.match(name)}
    return files | {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}


TRACKED = tracked()
PROSE = sorted(name for name in TRACKED if name.endswith(".md") and not name.startswith("include/models/"))
HISTORY = {"CHANGELOG.md"}  # names what is gone


def text_of(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: Any) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run 'make docs' and commit what it writes"


def section(page: str, title: str) -> str:
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("part", sections_of(SpecSection), ids=lambda part: part.__name__)
def test_the_reference_shows_the_real_default_of_every_field(part: Any) -> None:
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
        elif isinstance(default, SpecSection):
            assert shown == f"the defaults of [{type(default).__name__}](#{type(default).__name__.lower()})", name
        else:
            assert json.loads(shown.strip("`")) == default, name


def test_the_schema_gives_editors_the_real_defaults() -> None:
    schema = json.loads(PAGES["model.schema.json"]())
    assert schema["$defs"]["Canary"]["properties"]["steps"]["default"] == [10, 50]
    assert schema["properties"]["training"]["default"] == {}, "an empty part takes the defaults of its fields"


@pytest.fixture(scope="module")
def dags() -> Any:
    bag = DagBag(dag_folder=str(PROJECT / "dags"))
    assert bag.dags
    return bag.dags


def test_the_page_of_dags_draws_the_edges_that_the_dags_have(dags: Any) -> None:
    """Checks that run at the same time are not a chain."""
    page = PAGES["dags.md"]()
    for dag_id, dag in dags.items():
        drawn = set(re.findall(r"^    (\w+) --> (\w+)$", section(page, dag_id), re.MULTILINE))
        assert drawn == {(task.task_id, below) for task in dag.tasks for below in task.downstream_task_ids}, dag_id


def test_the_page_of_dags_begins_with_an_index_of_their_schedules(dags: Any) -> None:
    page = PAGES["dags.md"]()
    index = page.partition("\n## ")[0]
    for dag_id in dags:
        assert f"| [{dag_id}](#{dag_id.replace('.', '')}) |" in index
    assert "asset `flights/build`" in index


@pytest.mark.parametrize("story", ["ci", "training", "deployment", "monitoring", "retraining"])
def test_every_dag_page_has_the_same_four_parts(dags: Any, story: str) -> None:
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


def test_the_table_of_rooms_lists_every_folder_and_no_other() -> None:
    """A room that the table leaves out is one that nobody finds."""
    table = section(text_of("docs/architecture.md"), "The rooms")
    listed = {name.rstrip("/") for name in re.findall(r"^\| `([\w./]+)` \|", table, re.MULTILINE)}
    assert listed == rooms()


def test_the_architecture_draws_the_layers_that_the_contract_enforces() -> None:
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert " → ".join(layers).replace("include.", "") in text_of("docs/architecture.md")


RECORDS = [name for name in PROSE if name.startswith("docs/decisions/0")]


@pytest.mark.parametrize("name", RECORDS)
def test_a_decision_says_when_why_what_was_rejected_and_how_to_undo_it(name: Any) -> None:
    text = text_of(name)
    assert re.match(r"# \d{4} · .+\n20\d\d-\d\d-\d\d", text), "a number, a title and a date"
    assert re.findall(r"^\*\*(Decided|Why|Rejected|To undo)\.\*\*", text, re.MULTILINE) == [
        *("Decided", "Why", "Rejected", "To undo")
    ]


def test_the_index_of_decisions_lists_each_with_its_title() -> None:
    listed = re.findall(r"^\| \[(\d{4})\]\((.*?)\) \| (.*) \|$", text_of("docs/decisions/README.md"), re.MULTILINE)
    assert listed == [
        (Path(name).name[:4], Path(name).name, text_of(name).partition("\n")[0].partition(" · ")[2]) for name in RECORDS
    ]


FOLDERS = {name.partition("/")[0] for name in TRACKED if "/" in name}
NAMES = {Path(name).name for name in TRACKED}


def paths_in(text: str) -> set[str]:
    """The paths of this repository in backticks; not those with a placeholder or of the installation's home."""
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    words = {span.rstrip("/") for span in spans if re.fullmatch(r"[\w.*/-]+", span)}
    return {word for word in words if (word.partition("/")[0] in FOLDERS and "/" in word) or word.endswith(".py")}


@pytest.mark.parametrize("name", [name for name in PROSE if name not in HISTORY])
def test_every_path_that_a_page_names_exists(name: Any) -> None:
    """A reader who is sent to a file that has moved stops reading."""
    missing = sorted(
        path for path in paths_in(text_of(name)) if not (list(PROJECT.glob(path)) if "/" in path else path in NAMES)
    )
    assert missing == []


@pytest.mark.parametrize("name", PROSE)
def test_every_link_leads_somewhere(name: Any) -> None:
    """Relative links, with the headings they point to; links to other sites are not asked for."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(name)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        place = ((PROJECT / name).parent / path).resolve() if path else PROJECT / name
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, target


def test_the_version_is_that_of_pyproject_wherever_it_is_said() -> None:
    version = tomllib.loads(text_of("pyproject.toml"))["project"]["version"]
    released = re.findall(r"^## (\d+\.\d+\.\d+) \((20\d\d-\d\d-\d\d)\)$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert released[0][0] == version, "the newest dated part of CHANGELOG.md"
    assert f"${{EVERGREEN_IMAGE:-evergreen:{version}}}" in text_of("compose.yaml")


def test_the_changelog_is_by_kind_with_what_is_unreleased_on_top() -> None:
    text = text_of("CHANGELOG.md")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE)[0] == "Unreleased"
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_readme_names_every_metric() -> None:
    own = section(text_of("README.md"), "Bring your own model")
    assert {name for name in (*CLASSIFICATION_METRICS, *REGRESSION_METRICS) if f"`{name}`" not in own} == set()


def test_the_readme_names_the_default_ports() -> None:
    ports = {field.name: str(field.default) for field in fields(Settings) if field.name.endswith(("_port", "_ports"))}
    del ports["prometheus_port"]  # not started by default
    first_screen = text_of("README.md").partition("\n## ")[0]
    assert {name for name, port in ports.items() if port.replace("-", "–") not in first_screen} == set()


def test_the_workflow_runs_what_a_laptop_runs_with_pinned_actions() -> None:
    workflow = yaml.safe_load(text_of(".github/workflows/ci.yml"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "run" in step] == ["make check", "make test"]
    for step in steps:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step.get("uses", "a/b@" + "0" * 40)), step


SCRIPTS = ("bin/docker-engine", "bin/setup", ".ci/run", ".ci/fresh-machine", "Makefile", "Dockerfile")


def test_every_python_command_in_docs_and_scripts_imports_what_exists() -> None:
    commands = [code for name in PROSE for code in re.findall(r'python -c[\s\\]+"([^"]+)"', text_of(name))]
    in_scripts = [code for name in SCRIPTS for code in re.findall(r"python3? -c '([^']+)'", text_of(name))]
    assert in_scripts
    commands += in_scripts
    for command in commands:
        for node in ast.walk(ast.parse(command)):
            if isinstance(node, ast.ImportFrom):
                exec(compile(ast.Module([node], []), command, "exec"), {})  # noqa: S102 - our own documentation


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", text_of("Makefile"), re.MULTILINE))
    named = {one for name in PROSE if name not in HISTORY for one in re.findall(r"`make ([a-z-]+)", text_of(name))}
    assert named - targets == set()
