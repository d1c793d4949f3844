"""Writes the pages that are generated from the code: the JSON Schema and the reference of model.yaml, and docs/dags.md.

Run ``make docs`` after changing the spec or a Dag; a test fails while the pages differ from the code.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.core.spec import ModelSpec, SpecSection
from include.settings import PROJECT

if TYPE_CHECKING:
    from airflow.sdk import DAG, Asset

DOCS = PROJECT / "docs"
STAGES = ("ci", "training", "deployment", "monitoring", "retraining", "housekeeping")


def schema() -> str:
    """JSON Schema of model.yaml, for editors."""
    return json.dumps(_schema_with_defaults(), indent=1) + "\n"


def reference() -> str:
    """Reference of model.yaml: each part with its fields, types, defaults and descriptions."""
    root = _schema_with_defaults()
    lines = [
        "# model.yaml",
        "",
        "What a team states once about a model. Generated from the code by `make docs`; a complete example is",
        "[`include/models/flights/model.yaml`](../include/models/flights/model.yaml). Editors with YAML schema support",
        "complete and validate it against [`model.schema.json`](model.schema.json).",
        "",
    ]
    for title, part in [("The model", root), *sorted(root["$defs"].items())]:
        lines += [f"## {title}", "", part["description"].partition("\n")[0], ""]
        lines += ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
        required = set(part.get("required", ()))
        for name, field in part["properties"].items():
            default = "required" if name in required else _default(field)
            lines.append(f"| `{name}` | {_type(field)} | {default} | {_meaning(field, root)} |")
        lines.append("")
    return "\n".join(lines)


def dags() -> str:
    """An index of the Dags of the bundled example with their schedules, and the page of each as the web UI shows it."""
    scratch = tempfile.TemporaryDirectory(prefix="evergreen-docs-")  # removed when this function returns
    os.environ.setdefault("AIRFLOW_HOME", scratch.name)  # Airflow would otherwise create ~/airflow
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(PROJECT / "dags"))
    ordered = sorted(bag.dags.values(), key=lambda dag: STAGES.index(dag.dag_id.rpartition(".")[2]))
    lines = ["# The Dags", "", "Generated from the code by `make docs`, for the bundled model `flights`.", ""]
    lines += [
        "Each form can be submitted empty: the run then does the usual thing. Fields for versions, builds and windows",
        "suggest what there is; any other text may be entered, and the first task checks it before anything happens.",
        "The form's logical date does not matter: no Dag reads it. Only Dags with a timetable can be backfilled.",
        "",
    ]
    lines += ["| Dag | schedule | what it does |", "| --- | --- | --- |"]
    for dag in ordered:
        purpose = (dag.description or "").removeprefix("flights: ")
        lines.append(f"| [{dag.dag_id}](#{dag.dag_id.replace('.', '')}) | {_schedule(dag)} | {purpose} |")
    lines.append("")
    for dag in ordered:
        page = (dag.doc_md or "").partition("\n---\n")[0].strip().replace("### When it fails", "**When it fails**")
        lines += [f"## {dag.dag_id}", "", page, "", "| param | default | meaning |", "| --- | --- | --- |"]
        for name in dag.params:
            param = dag.params.get_param(name)
            default = "empty" if param.value is None else f"`{json.dumps(param.value)}`"
            lines.append(f"| `{name}` | {default} | {param.description} |")
        lines += ["", "```mermaid", "flowchart LR", *_edges(dag), "```", ""]
    return "\n".join(lines)


def _edges(dag: DAG) -> list[str]:
    return [
        f"    {task.task_id} --> {below}"
        for task in dag.topological_sort()
        for below in sorted(task.downstream_task_ids)
    ]


def _schedule(dag: DAG) -> str:
    """What starts a Dag: the assets it waits for, with the watchers that update them, or its cron expression."""
    schedule: Any = dag.schedule
    if schedule is None:
        return "by hand"
    if isinstance(schedule, str):
        return f"`{schedule}`"
    return " or ".join(
        f"asset `{asset.name}`" + "".join(f" (watched by `{type(one.trigger).__name__}`)" for one in asset.watchers)
        for asset in _assets(schedule)
    )


def _assets(schedule: Any) -> list[Asset]:
    """The assets in a schedule: a list, a condition over several, or a single one."""
    if isinstance(schedule, list):
        return [asset for part in schedule for asset in _assets(part)]
    return _assets(list(schedule.objects)) if hasattr(schedule, "objects") else [schedule]


def _schema_with_defaults() -> dict[str, Any]:
    """Pydantic's schema of the spec, with the defaults that it leaves out: those made by a factory."""
    root = ModelSpec.model_json_schema(by_alias=True)
    for section in _sections(SpecSection):
        described = root if section is ModelSpec else root["$defs"].get(section.__name__)
        for name, field in section.model_fields.items() if described else ():
            default = field.get_default(call_default_factory=True)
            if not field.is_required():
                described["properties"][field.alias or name]["default"] = (
                    {} if isinstance(default, SpecSection) else default
                )
    return root


def _sections(base: type[SpecSection]) -> list[type[SpecSection]]:
    return [section for child in base.__subclasses__() for section in (child, *_sections(child))]


def _default(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return f"the defaults of {_type(field)}"
    return f"`{json.dumps(field['default'])}`"


def _meaning(field: dict[str, Any], root: dict[str, Any]) -> str:
    if "description" in field:
        return str(field["description"])
    return str(root["$defs"][field["$ref"].rpartition("/")[2]]["description"])  # the same words as the part


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return str(field.get("const", field.get("type", "any")))


PAGES = {"model.schema.json": schema, "model-yaml.md": reference, "dags.md": dags}


def main() -> None:
    """Write every generated page."""
    for name, make in PAGES.items():
        Path(DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
