"""Measures of the code's shape: ``python -m docs.measures [<commit> ...]``, or ``make measures COMMITS=<commit>``.

Prints a table with one row for each measure and one column for each commit, the working tree last. A commit is exported
into a temporary folder and measured there by this same code, so that the columns can be compared.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

PROJECT = Path(__file__).resolve().parent.parent
PRODUCTION = ("include", "plugins")
ALL = (*PRODUCTION, "dags", "demo", "docs", "benchmarks", "tests")
UNTYPED = re.compile(r"dict\[str, Any\]|Mapping\[str, Any\]")
ALIAS = re.compile(r"^(\w+)(?:: TypeAlias)? = (?:dict|Mapping)\[str, Any\]$", re.MULTILINE)
IMPORT_GRAPH = """
import grimp, json
graph = grimp.build_graph("include", "evergreen", cache_dir=None)
print(json.dumps({module: sorted(graph.find_modules_directly_imported_by(module)) for module in graph.modules}))
"""
"""Runs in a process of its own, which finds the packages of the tree that is measured."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Largest(NamedTuple):
    """The largest of several things: its size, and which one it is."""

    size: int
    name: str

    def __str__(self) -> str:
        return f"{self.size} ({self.name})"


@dataclass(frozen=True)
class Module:
    """One Python file."""

    name: str
    """Its path below the project."""
    text: str

    @cached_property
    def functions(self) -> list[Function]:
        """All functions and methods, nested ones too."""
        return [node for node in ast.walk(ast.parse(self.text)) if isinstance(node, Function)]

    @cached_property
    def public(self) -> list[Function]:
        """Functions of the module and methods of its classes whose names have no leading underscore."""
        return list(_public(ast.parse(self.text)))


def _public(parent: ast.Module | ast.ClassDef) -> Iterator[Function]:
    for node in parent.body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            if isinstance(node, ast.ClassDef):
                yield from _public(node)
            else:
                yield node


def modules(tree: Path, folders: Sequence[str]) -> list[Module]:
    """The Python files below these folders of a tree, by name."""
    paths = sorted(path for folder in folders for path in (tree / folder).rglob("*.py"))
    return [Module(path.relative_to(tree).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


def untyped_records(tree: Path) -> int:
    """How often ``dict[str, Any]`` and ``Mapping[str, Any]`` are written in include and plugins."""
    return sum(len(UNTYPED.findall(module.text)) for module in modules(tree, PRODUCTION))


def untyped_aliases(tree: Path) -> int:
    """How often include and plugins use a name for such a record: ``Health`` after ``Health = dict[str, Any]``."""
    production = modules(tree, PRODUCTION)
    aliases = {name for module in production for name in ALIAS.findall(module.text)}
    names = [node for module in production for node in ast.walk(ast.parse(module.text)) if isinstance(node, ast.Name)]
    return sum(isinstance(node.ctx, ast.Load) and node.id in aliases for node in names)


def undocumented(tree: Path) -> list[str]:
    """Public functions and methods of include and plugins without a docstring; tests of the examples not counted."""
    return [
        f"{module.name}:{function.name}"
        for module in modules(tree, PRODUCTION)
        for function in module.public
        if "tests" not in Path(module.name).parts
        if ast.get_docstring(function) is None
    ]


def longest_file(tree: Path, folders: Sequence[str] = ALL) -> Largest:
    """Lines of the longest Python file."""
    return max(Largest(len(module.text.splitlines()), module.name) for module in modules(tree, folders))


def longest_function(tree: Path) -> Largest:
    """Lines of the longest function of include and plugins, its signature and docstring included."""
    return max(
        Largest((function.end_lineno or function.lineno) - function.lineno + 1, f"{module.name}:{function.name}")
        for module in modules(tree, PRODUCTION)
        for function in module.functions
    )


def most_parameters(tree: Path) -> Largest:
    """Parameters of the function of include and plugins that has most of them; ``self`` counts."""
    return max(
        Largest(_parameters(function.args), f"{module.name}:{function.name}")
        for module in modules(tree, PRODUCTION)
        for function in module.functions
    )


def _parameters(arguments: ast.arguments) -> int:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len(named) + (arguments.vararg is not None) + (arguments.kwarg is not None)


def highest_complexity(tree: Path, folders: Sequence[str] = ALL) -> Largest:
    """The highest McCabe complexity of a function, as ruff counts it."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--exit-zero", "--select=C901"]
    command += ["--config=lint.mccabe.max-complexity=0", "--output-format=json", "--ignore-noqa"]
    done = subprocess.run([*command, *folders], cwd=tree, capture_output=True, text=True, check=True)
    found = []
    for finding in json.loads(done.stdout):
        name, complexity = re.findall(r"`(\w+)` is too complex \((\d+) > 0\)", finding["message"])[0]
        found.append(Largest(int(complexity), f"{Path(finding['filename']).relative_to(tree).as_posix()}:{name}"))
    return max(found)


def largest_folder(tree: Path) -> Largest:
    """Modules of the folder of include or plugins that holds most; ``__init__.py`` does not count."""
    paths = [Path(module.name) for module in modules(tree, PRODUCTION)]
    count = Counter(path.parent.as_posix() for path in paths if path.name != "__init__.py")
    return max(Largest(size, name) for name, size in count.items())


def import_circles(tree: Path) -> list[list[str]]:
    """Groups of modules of include and plugins that import each other, directly or through others of the group.

    Imports inside functions count.
    """
    environment = os.environ | {"PYTHONPATH": f"{tree}{os.pathsep}{tree / 'plugins'}"}
    command = [sys.executable, "-c", IMPORT_GRAPH]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=True)
    return circles(json.loads(done.stdout))


def circles(imports: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The strongly connected components of more than one module, of an import graph ``module → what it imports``."""
    names = sorted(imports)
    number = {name: position for position, name in enumerate(names)}
    arrows = [(number[name], number[other]) for name in names for other in imports[name]]
    heads, tails = np.array(arrows, dtype=int).reshape(-1, 2).T
    matrix = coo_array((np.ones(len(arrows)), (heads, tails)), shape=(len(names), len(names)))
    _, groups = connected_components(matrix, connection="strong")
    members = [[name for name, group in zip(names, groups, strict=True) if group == wanted] for wanted in set(groups)]
    return sorted(circle for circle in members if len(circle) > 1)


def table(tree: Path) -> dict[str, str]:
    """All measures of a tree, in words."""
    in_circles = import_circles(tree)
    return {
        "untyped records in include and plugins": str(untyped_records(tree)),
        "uses of other names for untyped records": str(untyped_aliases(tree)),
        "public functions and methods without a docstring": str(len(undocumented(tree))),
        "longest file, lines": str(longest_file(tree)),
        "longest file outside of tests, lines": str(longest_file(tree, ALL[:-1])),
        "longest function, lines": str(longest_function(tree)),
        "most parameters": str(most_parameters(tree)),
        "highest complexity": str(highest_complexity(tree)),
        "modules in the largest folder": str(largest_folder(tree)),
        "import circles": "<br>".join(", ".join(circle) for circle in in_circles) or "none",
    }


def export(commit: str, folder: Path) -> Path:
    """The files of a commit of this repository, written below ``folder``."""
    command = ["git", "archive", "--format=tar", commit]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"'{commit}' could not be exported: {done.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def main(arguments: Sequence[str]) -> None:
    """Print the table, as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m docs.measures", description=__doc__)
    parser.add_argument("commits", nargs="*", help="commits to compare with the working tree")
    columns = {}
    for commit in parser.parse_args(arguments).commits:
        with tempfile.TemporaryDirectory(prefix="evergreen-measures-") as folder:
            columns[commit] = table(export(commit, Path(folder).resolve()))
    columns["working tree"] = table(PROJECT)
    print(f"| measure | {' | '.join(columns)} |")
    print(f"| --- {'| --- ' * len(columns)}|")
    for measure in columns["working tree"]:
        print(f"| {measure} | {' | '.join(column[measure] for column in columns.values())} |")


if __name__ == "__main__":
    main(sys.argv[1:])
