"""The world is handed in: what import-linter can't see of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.settings import PROJECT

HANDED_IN = ("adapters", "core", "pages", "observability", "stages")
"""Rooms of include/ that take settings, folders or an Installation as arguments."""
OPENS = PROJECT / "include" / "stages" / "installation.py"
"""The one module of them that reads the environment's settings, for who starts something."""
OPENERS = ("from_environment", "open_installation")


def names_used(file: Path) -> Iterator[tuple[int, str]]:
    """Line and name of everything that a module calls, imports or reads an attribute of."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name | ast.Attribute):
            yield node.lineno, node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names)


@pytest.mark.parametrize("room", HANDED_IN)
def test_no_room_opens_an_installation_or_reads_its_settings_by_itself(room: Any) -> None:
    """A function with hidden inputs can only be tested by patching the environment."""
    files = [file for file in (PROJECT / "include" / room).rglob("*.py") if file != OPENS]
    assert files, f"include/{room} has no modules"
    found = [
        f"{file.relative_to(PROJECT)}:{line}: {name}"
        for file in files
        for line, name in names_used(file)
        if name in OPENERS
    ]
    assert found == []


def test_what_is_looked_for_is_found_where_it_is_allowed() -> None:
    """The names above are those of the code; else the test before would pass whatever a room does."""
    assert {name for _, name in names_used(OPENS)} >= {"from_environment"}
    assert any(name == "open_installation" for _, name in names_used(PROJECT / "plugins/evergreen/model_task.py"))
