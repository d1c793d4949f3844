"""Writes the pages that are made from the code: the JSON Schema and the reference of model.yaml, and docs/dags.md.

Run ``make docs`` after changing the spec or a DAG; a test holds the pages against the code.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from include.core.spec import ModelSpec
from include.settings import PROJECT

DOCS = PROJECT / "docs"


def schema() -> str:
    """JSON Schema of model.yaml, for editors."""
    return json.dumps(ModelSpec.model_json_schema(by_alias=True), indent=1) + "\n"


def reference() -> str:
    """Reference of model.yaml: each part with its fields, types, defaults and descriptions."""
    root = ModelSpec.model_json_schema(by_alias=True)
    lines = [
        "# model.yaml",
        "",
        "What a team says once about a model. Made from the code by `make docs`; the whole of a real one is",
        "[`include/models/flights/model.yaml`](../include/models/flights/model.yaml). Editors that know YAML schemas",
        "complete and check it with [`model.schema.json`](model.schema.json).",
        "",
    ]
    for title, part in [("The model", root), *sorted(root["$defs"].items())]:
        lines += [f"## {title}", "", part["description"].partition("\n")[0], ""]
        lines += ["| field | type | default | what it says |", "| --- | --- | --- | --- |"]
        required = set(part.get("required", ()))
        for name, field in part["properties"].items():
            default = "required" if name in required else f"`{json.dumps(field.get('default', '…'))}`"
            lines.append(f"| `{name}` | {_type(field)} | {default} | {_says(field, root)} |")
        lines.append("")
    return "\n".join(lines)


def dags() -> str:
    """The page of every DAG of the bundled example, as the web UI shows it."""
    scratch = tempfile.TemporaryDirectory(prefix="evergreen-docs-")  # goes when this function ends
    os.environ.setdefault("AIRFLOW_HOME", scratch.name)  # else it makes ~/airflow
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(PROJECT / "dags"))
    lines = ["# The DAGs", "", "Made from the code by `make docs`, with the bundled model `flights`.", ""]
    for dag_id, dag in sorted(bag.dags.items()):
        page = (dag.doc_md or "").strip().replace("### When it fails", "**When it fails**")
        lines += [f"## {dag_id}", "", page, "", "| param | default | what it does |", "| --- | --- | --- |"]
        for name in dag.params:
            param = dag.params.get_param(name)
            default = "empty" if param.value is None else f"`{json.dumps(param.value)}`"
            lines.append(f"| `{name}` | {default} | {param.description} |")
        lines += ["", "Tasks: " + " → ".join(f"`{task.task_id}`" for task in dag.topological_sort()), ""]
    return "\n".join(lines)


def _says(field: dict[str, Any], root: dict[str, Any]) -> str:
    if "description" in field:
        return str(field["description"])
    return str(root["$defs"][field["$ref"].rpartition("/")[2]]["description"])  # the same words as its part's


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
    for name, make in PAGES.items():
        Path(DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
