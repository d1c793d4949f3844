"""Reads ``model.yaml``; every error is reported with file, line, field and remedy."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from include.adapters.untrusted_files import (
    MAX_YAML_BYTES,
    UntrustedFileError,
    compose_yaml,
    construct_yaml,
    read_text,
)
from include.core.errors import ModelSpecError
from include.core.spec import ModelSpec

REMEDIES = {
    "missing": "Add it",
    "extra_forbidden": "Remove it, or correct its spelling; docs/model-yaml.md lists the fields",
    "string_pattern_mismatch": "Write it in that form",
}

Path_ = tuple[str | int, ...]


def load_spec(path: Path) -> ModelSpec:
    """Parse and validate one model.yaml; a text that was valid before is not parsed again.

    Raises ModelSpecError with one line per error: ``<folder>/model.yaml:<line>: <field>: … <remedy>.``
    """
    shown = f"{path.parent.name}/{path.name}"
    try:
        text = read_text(path.resolve(), MAX_YAML_BYTES)
    except OSError as error:
        raise ModelSpecError(f"{shown}: can't be read ({error.strerror}). Check that the file exists.") from error
    except UntrustedFileError as error:
        raise ModelSpecError(f"{shown}: {error}. Write a short file in UTF-8, as in docs/model-yaml.md.") from error
    return _spec(text, path.parent.name, shown)


@lru_cache(maxsize=4096)
def _spec(text: str, folder: str, shown: str) -> ModelSpec:
    values, lines = _parse(text, shown)
    try:
        spec = ModelSpec.model_validate(values)
    except ValidationError as error:
        raise ModelSpecError("\n".join(_describe(mistake, shown, lines) for mistake in error.errors())) from None
    if spec.name != folder:
        line = lines.get(("name",), 1)
        raise ModelSpecError(
            f"{shown}:{line}: name: '{spec.name}' is not the folder's name '{folder}'. "
            "Rename one of them; Dags, releases and metrics use this name."
        )
    return spec


def _parse(text: str, shown: str) -> tuple[Any, dict[Path_, int]]:
    lines: dict[Path_, int] = {}
    try:
        root = compose_yaml(text)
        if root is not None:
            _collect_lines(root, (), lines, shown)
        values = construct_yaml(root)
    except UntrustedFileError as error:
        raise ModelSpecError(f"{shown}: {error}. Correct it, as in docs/model-yaml.md.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ModelSpecError(
            f"{shown}{where}: is not valid YAML: {problem}. Check indentation and quotes near this line."
        ) from None
    if not isinstance(values, dict):
        raise ModelSpecError(f"{shown}:1: must be a mapping of fields. Start from docs/model-yaml.md.")
    return values, lines


def _collect_lines(node: yaml.Node, path: Path_, lines: dict[Path_, int], shown: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            child = (*path, key.value)
            if child in lines:
                raise ModelSpecError(
                    f"{shown}:{key.start_mark.line + 1}: {_dotted(child)}: appears twice "
                    f"(first in line {lines[child]}). Keep one."
                )
            lines[child] = key.start_mark.line + 1
            _collect_lines(value, child, lines, shown)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _collect_lines(value, (*path, index), lines, shown)


def _describe(mistake: Any, shown: str, lines: dict[Path_, int]) -> str:
    # Pydantic's location contains names of union members ("FileSource"), which are not in the file.
    location = tuple(part for part in mistake["loc"] if part not in ("FileSource", "SqlSource"))
    known = location
    while known and known not in lines:
        known = known[:-1]
    message = mistake["msg"].removeprefix("Value error, ").rstrip(".")
    given = mistake.get("input")
    if mistake["type"] not in ("missing", "extra_forbidden", "value_error") and isinstance(given, str | int | float):
        message += f" (value: {given!r})"
    remedy = REMEDIES.get(mistake["type"], "" if mistake["type"] == "value_error" else "Correct the value")
    field = _dotted(location) or "model"
    return f"{shown}:{lines.get(known, 1)}: {field}: {message}." + (f" {remedy}." if remedy else "")


def _dotted(path: tuple[Any, ...]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text
