"""Fails the test that leaves ``EVERGREEN_*``, ``AIRFLOW_*`` or the working folder changed, and puts them back.

Fixtures of a module or of the session may change the environment while they are active; what they changed must be
undone when they end, also when their set-up fails or skips. Without this, such a change decides what later tests of
the same process do: 37 failed once because one skipped fixture left the engine set to docker.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

GUARDED = ("EVERGREEN_", "AIRFLOW_", "DOCKER_")
FOLDER = "working folder"

State = dict[str, str]


def state() -> State:
    """The guarded variables, and the working folder."""
    return {FOLDER: os.getcwd()} | {name: value for name, value in os.environ.items() if name.startswith(GUARDED)}


def put_back(wanted: State) -> None:
    """Make the guarded part of the environment what it was."""
    os.chdir(wanted[FOLDER])
    for name in state().keys() - wanted.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in wanted.items() if name != FOLDER})


def changes(before: State, after: State) -> dict[str, str | None]:
    """Each name whose value differs, with its later value; None when it is gone."""
    return {
        name: after.get(name) for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)
    }


class EnvironmentGuard:
    """Knows the environment that each moment should have: the session's, with the active fixtures' changes."""

    def __init__(self) -> None:
        self.start = state()
        self.active: dict[Any, dict[str, str | None]] = {}

    def expected(self) -> State:
        """The environment that is right between two tests."""
        wanted: dict[str, str | None] = {**self.start}
        for changed in self.active.values():
            wanted.update(changed)
        return {name: value for name, value in wanted.items() if value is not None}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        if fixturedef.scope == "function":
            return (yield)
        before = state()
        try:
            result = yield
        except BaseException as error:
            left = changes(before, state())
            if left:
                put_back(before)
                pytest.fail(f"the fixture '{fixturedef.argname}' ended early ({error!r}) and left {described(left)}")
            raise
        self.active[fixturedef] = changes(before, state())
        return result

    @pytest.hookimpl(trylast=True)
    def pytest_fixture_post_finalizer(self, fixturedef: Any) -> None:
        self.active.pop(fixturedef, None)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        yield
        wanted = self.expected()
        left = changes(wanted, state())
        if left:
            put_back(wanted)
            pytest.fail(f"{item.nodeid} left {described(left)}")


def described(left: dict[str, str | None]) -> str:
    """For the message."""
    values = ", ".join(f"{name}={value!r}" if value is not None else f"{name} unset" for name, value in left.items())
    return f"{values}. Change them through monkeypatch, or in a context manager that always undoes it."


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.pluginmanager.register(EnvironmentGuard(), "environment_guard")
