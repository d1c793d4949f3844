"""What all tests share. Paths and settings come first: Airflow reads them when it is imported."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from include.core.spec import ModelSpec

hypothesis.settings.register_profile("evergreen", deadline=None)  # on a busy machine, any example may be slow
hypothesis.settings.load_profile("evergreen")

pytest_plugins = [
    "pytester",
    "tests.support.coverage_summary",
    "tests.support.environment_guard",
    "tests.support.needs",
    "tests.support.progress",
]

PROJECT = Path(__file__).resolve().parent.parent
for folder in (PROJECT, PROJECT / "plugins"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

SCRATCH = Path(tempfile.mkdtemp(prefix="evergreen-tests-"))
os.environ["EVERGREEN_HOME"] = str(SCRATCH / "home")
os.environ["AIRFLOW_HOME"] = str(SCRATCH / "airflow")
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(PROJECT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(PROJECT / "plugins")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{SCRATCH / 'airflow.db'}"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as in the platform's own processes
os.environ["GX_ANALYTICS_ENABLED"] = "false"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


ON_THE_ENGINE = {"docker", "docker_images", "image_registry", "compose"}
"""Modules ``tests/integration/test_<name>.py`` that share the machine's Docker Engine: one test at a time."""
ON_THE_PLATFORM = ["platform", "observability", "trigger_forms"]
"""Modules that share the running platform, in this order: the first one wants it as it was started."""
LONGEST = ["e2e", "engine", "platform", "tests/integration/test_deployment.py"]
"""These groups start first, so that no process ends up waiting for one of them."""


def group_of(nodeid: str) -> str:
    """What shares something runs in one process: the engine, the demo of the end-to-end tests, a module's fixtures."""
    path = Path(nodeid.partition("::")[0])
    if path.parts[1:2] == ("e2e",):
        return "e2e"
    name = path.stem.removeprefix("test_")
    if name in ON_THE_PLATFORM:
        return "platform"
    return "engine" if name in ON_THE_ENGINE or "[docker" in nodeid else str(path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the tests of a group together, the longest groups first."""
    order = {group: number for number, group in enumerate(LONGEST)}
    groups = {group_of(item.nodeid): None for item in items}
    order |= {group: order.get(group, len(order) + number) for number, group in enumerate(groups)}

    def place(item: pytest.Item) -> tuple[int, int]:
        name = item.path.stem.removeprefix("test_")
        within = ON_THE_PLATFORM.index(name) if name in ON_THE_PLATFORM else 0
        return order[group_of(item.nodeid)], within

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """How ``make test`` spreads the groups over its processes."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


def pytest_sessionfinish() -> None:
    import shutil

    shutil.rmtree(SCRATCH, ignore_errors=True)


@pytest.fixture
def spec() -> ModelSpec:
    """The spec of the bundled example."""
    from include.adapters.spec_file import load_spec

    return load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
