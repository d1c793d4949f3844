"""What the triggers see, in a real repository and a real lake, and what they remember after a restart."""

# ruff: noqa: F811 - fixtures of another module

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.core.errors import BuildError
from tests.integration.test_ci import home, repository  # noqa: F401
from tests.support.real_repository import RealRepository
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


class KeptState:
    """The asset's state, as the triggerer gives it to a trigger."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = value


async def some_looks(looks: list[str]) -> None:
    """Wait until a trigger has looked three times more."""
    before = len(looks)
    await asyncio.to_thread(wait_for, lambda: len(looks) >= before + 3, 30, "three looks")


def commit_trigger(looks: list[str]) -> Any:
    """A trigger for the repository's commits that says when it has looked."""
    from evergreen.triggers.git_commit import GitCommitTrigger

    class Observed(GitCommitTrigger):
        async def ask(self) -> str:
            try:
                return await super().ask()
            finally:
                looks.append("")

    return Observed("tiny", url="repositories/tiny.git", branch="main")


def test_the_trigger_sees_the_first_commit_and_each_new_one_once(
    repository: RealRepository, capfd: pytest.CaptureFixture[str]
) -> None:
    async def watch() -> list[str]:
        looks: list[str] = []
        trigger = commit_trigger(looks)
        state: Any = KeptState()
        trigger.asset_state_store = state
        events = trigger.run()
        first = await asyncio.wait_for(anext(events), 30)
        assert "commit" not in state.values, "kept before its event was handed over: a crash would lose the commit"
        nothing_new = asyncio.ensure_future(anext(events))
        await some_looks(looks)
        assert not nothing_new.done(), "the same commit came twice"
        moved = repository.bare.rename(repository.bare.with_name("moved.git"))
        await some_looks(looks)
        moved.rename(repository.bare)
        pushed = await asyncio.to_thread(repository.commit, {"a.txt": "new"})
        second = await asyncio.wait_for(nothing_new, 30)
        assert second.payload["commit"] == pushed
        await events.aclose()
        return [first.payload["commit"], pushed]

    head = repository.git("rev-parse", "HEAD")
    commits = asyncio.run(watch())
    assert commits[0] == head
    assert capfd.readouterr().out.count("can't read the commits") == 1, "a repository that is gone must be logged once"


def test_the_trigger_remembers_what_it_saw_after_a_restart(repository: RealRepository) -> None:
    async def restarted() -> bool:
        looks: list[str] = []
        trigger = commit_trigger(looks)
        state: Any = KeptState()
        trigger.asset_state_store = state
        await state.aset("commit", repository.git("rev-parse", "HEAD"))
        event = asyncio.ensure_future(anext(trigger.run()))
        await some_looks(looks)
        seen = event.done()
        event.cancel()
        return not seen

    assert asyncio.run(restarted())


def test_models_of_one_repository_read_it_once(
    repository: RealRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read is a process of Git; twenty models would start four a second."""
    git, log = shutil.which("git"), tmp_path / "read"
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    script = f'#!/bin/sh\necho read >> {shlex.quote(str(log))}\nexec {shlex.quote(str(git))} "$@"\n'
    program.write_text(script, encoding="utf-8")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("EVERGREEN_GIT_POLL_SECONDS", "30")

    async def watch() -> list[str]:
        from evergreen.triggers.git_commit import GitCommitTrigger

        watched = [
            GitCommitTrigger(f"model-{n}", url="repositories/tiny.git", branch=branch)
            for n, branch in enumerate(["main"] * 20 + ["other"])
        ]
        events = [trigger.run() for trigger in watched[:20]]
        first = await asyncio.gather(*(anext(event) for event in events))
        with pytest.raises(BuildError, match="other"):
            await watched[20].ask()
        later = GitCommitTrigger("late", url="repositories/tiny.git", branch="main")
        cancelled = asyncio.ensure_future(later.ask())
        await asyncio.sleep(0)
        cancelled.cancel()
        return [event.payload["commit"] for event in first] + [await later.ask()]

    head = repository.git("rev-parse", "HEAD")
    log.unlink(missing_ok=True)
    assert asyncio.run(watch()) == [head] * 21
    assert log.read_text().count("read") == 2, "one for each branch"


def partitions(home: Path, *windows: str) -> Path:
    """Put a partition of each window into the lake; returns the folder."""
    folder = home / "tiny"
    folder.mkdir(exist_ok=True)
    for window in windows:
        (folder / f"{window}.parquet").write_bytes(b"rows of " + window.encode())
    return folder


@pytest.fixture
def lake(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The model's empty lake, which is looked at often."""
    monkeypatch.setenv("EVERGREEN_DATA_POLL_SECONDS", "0.05")
    monkeypatch.setenv("AIRFLOW_CONN_EVERGREEN_LAKE", '{"conn_type": "fs", "extra": {"path": ""}}')
    yield partitions(home)
    shutil.rmtree(home / "tiny")


@pytest.mark.parametrize("before", [[], ["2013-01", "2013-02"]], ids=["the first ever", "others are there"])
def test_new_partitions_are_seen_and_old_ones_are_not(home: Path, lake: Path, before: Any) -> None:
    from evergreen.triggers.data_partition import DataPartitionTrigger

    looks: list[str] = []

    class Observed(DataPartitionTrigger):
        """Says when it has looked."""

        def look(self, known: set[str] | None = None) -> dict[str, str]:
            try:
                return super().look(known)
            finally:
                looks.append("")

    async def watch() -> list[str]:
        partitions(home, *before)
        trigger = Observed(model="tiny")
        state: Any = KeptState()
        trigger.asset_state_store = state
        events = trigger.run()
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.to_thread(wait_for, lambda: "windows" in state.values, 30, "the first look")
        assert (state.values["windows"], waiting.done()) == (before, False)
        partitions(home, "2013-03", "2013-04", "tmp-2013-05")
        seen = [(await asyncio.wait_for(waiting, 10)).payload["window"]]
        assert state.values["windows"] == before, "kept before its event was handed over: a crash would lose it"
        seen.append((await asyncio.wait_for(anext(events), 10)).payload["window"])
        another = asyncio.ensure_future(anext(events))
        await some_looks(looks)
        assert not another.done(), "a temporary file is not a partition"
        return seen

    assert asyncio.run(watch()) == ["2013-03", "2013-04"]


def test_partitions_that_came_while_nothing_was_watching_are_seen(home: Path, lake: Path) -> None:
    from evergreen.triggers.data_partition import DataPartitionTrigger

    async def watch() -> str:
        trigger = DataPartitionTrigger(model="tiny")
        state: Any = KeptState()
        trigger.asset_state_store = state
        await state.aset("windows", ["2013-01"])
        partitions(home, "2013-01", "2013-02")
        return str((await asyncio.wait_for(anext(trigger.run()), 10)).payload["window"])

    assert asyncio.run(watch()) == "2013-02"


def test_a_partition_is_announced_once_it_is_written(home: Path, lake: Path) -> None:
    """Otherwise training would read half of it, fail, and not start again."""
    from evergreen.triggers.data_partition import DataPartitionTrigger

    complete = asyncio.Event()
    looks = []

    class BesideAWriter(DataPartitionTrigger):
        """Before each look, the partition has grown, until it is complete."""

        def look(self, known: set[str] | None = None) -> dict[str, str]:
            looks.append("")
            if not complete.is_set():
                with (lake / "2013-01.parquet").open("ab") as file:
                    file.write(b"more")
            return super().look(known)

    async def watch() -> str:
        trigger = BesideAWriter(model="tiny")
        state: Any = KeptState()
        trigger.asset_state_store = state
        await state.aset("windows", [])
        event = asyncio.ensure_future(anext(trigger.run()))
        await asyncio.to_thread(wait_for, lambda: len(looks) > 5, 30, "some looks")
        assert not event.done(), "announced while it grows"
        complete.set()
        return str((await asyncio.wait_for(event, 10)).payload["window"])

    assert asyncio.run(watch()) == "2013-01"
