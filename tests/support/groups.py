"""Tests that share something run one after another in one process; what they share ends with the last of them.

A session's fixtures end with the session. A platform that only a few modules need would run beside all later tests,
and stopping it would be the last thing that a process does, while the other one has nothing left to do.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ON_THE_ENGINE = {"docker", "docker_images", "image_registry", "compose"}
"""Modules ``tests/integration/test_<name>.py`` that share the machine's Docker Engine: one test at a time."""
ON_THE_PLATFORM = ["platform", "missed_runs", "observability", "trigger_forms", "notifications", "approvals"]
"""Modules that share the running platform, in this order: the first one wants it as it was started."""
ON_ONE_INSTALLATION = {"compiling", "server_files", "trace"}
"""Modules that share an installation with the engine ``process``, and leave it as it was."""
ORDER = [
    *("e2e", "engine", "tests/unit/", "tests/dags/", "tests/integration/test_matrix.py"),
    *("tests/integration/test_brought_models.py", "tests/integration/test_deployment.py"),
    *("tests/integration/test_celery_platform.py", "platform"),
    *("installation", "tests/integration/", "tests/"),
]
"""The groups (or how their names begin) in the order in which they start.

Two running platforms at a time would take each other's processors, and idle ones take a third of a core each. So the
unit tests run beside the demo, and the integration tests that need no platform beside the matrix.
"""

SHARED = pytest.StashKey[ExitStack]()


def group_of(nodeid: str) -> str:
    """What shares something runs in one process: the engine, the demo of the end-to-end tests, a module's fixtures."""
    path = Path(nodeid.partition("::")[0])
    if path.parts[1:2] == ("e2e",):
        return "e2e"
    name = path.stem.removeprefix("test_")
    if name in ON_THE_PLATFORM:
        return "platform"
    if name in ON_THE_ENGINE or "[docker" in nodeid:
        return "engine"
    return "installation" if name in ON_ONE_INSTALLATION else str(path)


def order_of(group: str) -> int:
    """The place of a group in ORDER: the longest beginning of its name counts."""
    return ORDER.index(max((begin for begin in ORDER if group.startswith(begin)), key=len, default="tests/"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the tests of a group together, and the groups into their order."""
    found = {group: number for number, group in enumerate({group_of(item.nodeid): None for item in items})}

    def place(item: pytest.Item) -> tuple[int, int, int]:
        name, group = item.path.stem.removeprefix("test_"), group_of(item.nodeid)
        within = ON_THE_PLATFORM.index(name) if name in ON_THE_PLATFORM else 0
        return order_of(group), found[group], within

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """How ``make test`` spreads the groups over its processes."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SHARED] = ExitStack()


@pytest.fixture(scope="session")
def until_group_ends(pytestconfig: pytest.Config) -> ExitStack:
    """What a session fixture enters here is exited after the last test of the group that asked for it."""
    return pytestconfig.stash[SHARED]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the test's own fixtures have ended: end what the group shares if this was its last test."""
    if nextitem is None or group_of(nextitem.nodeid) != group_of(item.nodeid):
        item.config.stash[SHARED].close()


def pytest_unconfigure(config: pytest.Config) -> None:
    """A session that was interrupted had no last test."""
    config.stash[SHARED].close()
