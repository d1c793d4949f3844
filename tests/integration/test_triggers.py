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


@pytest.fixture
def reads(repository: RealRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each time that Git was started since then."""
    git, log = shutil.which("git"), tmp_path / "read"
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    script = f'#!/bin/sh\necho read >> {shlex.quote(str(log))}\nexec {shlex.quote(str(git))} "$@"\n'
    program.write_text(script, encoding="utf-8")
    program.chmod(0o700)
    log.touch()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return log


def test_models_of_one_repository_share_one_watch(
    repository: RealRepository, reads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look may be a process of Git; twenty models would start four a second."""
    from evergreen.triggers import git_commit

    monkeypatch.setenv("EVERGREEN_GIT_POLL_SECONDS", "30")

    def model(name: str, branch: str = "main") -> Any:
        return git_commit.GitCommitTrigger(name, url="repositories/tiny.git", branch=branch).run()

    async def watch() -> list[str]:
        events = [model(f"model-{number}") for number in range(20)]
        first = await asyncio.gather(*(anext(event) for event in events))
        await events[0].aclose()  # the one that began the watch
        late = model("late")
        later = await asyncio.wait_for(anext(late), 10)
        for event in (*events, late):
            await event.aclose()
        assert not git_commit._heads._shared, "nobody waits any more, and it is still asked"
        return [event.payload["commit"] for event in (*first, later)]

    head = repository.git("rev-parse", "HEAD")
    before = reads.read_text().count("read")
    assert asyncio.run(watch()) == [head] * 21
    assert reads.read_text().count("read") - before == 1


def test_each_model_of_a_repository_sees_each_new_commit(
    repository: RealRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evergreen.triggers.git_commit import GitCommitTrigger

    async def watch() -> tuple[set[str], set[str], str]:
        triggers = [GitCommitTrigger(name, url="repositories/tiny.git", branch="main") for name in ("a", "b", "c")]
        events = [trigger.run() for trigger in triggers]
        first = {(await asyncio.wait_for(anext(event), 10)).payload["commit"] for event in events}
        waiting = [asyncio.ensure_future(anext(event)) for event in events]
        await asyncio.sleep(0)
        waiting[0].cancel()
        pushed = await asyncio.to_thread(repository.commit, {"a.txt": "for all"})
        second = {(await asyncio.wait_for(one, 30)).payload["commit"] for one in waiting[1:]}
        return first, second, pushed

    head = repository.git("rev-parse", "HEAD")
    first, second, pushed = asyncio.run(watch())
    assert first == {head}
    assert second == {pushed}


def test_a_repository_on_this_machine_is_read_only_when_it_has_changed(
    repository: RealRepository, reads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evergreen.triggers import git_commit

    def count() -> int:
        return reads.read_text().count("read")

    async def asked() -> None:
        trigger = git_commit.GitCommitTrigger("tiny", url="repositories/tiny.git", branch="main")
        head = await trigger.ask()
        before = count()
        assert [await trigger.ask() for _ in range(5)] == [head] * 5
        assert count() == before
        pushed = await asyncio.to_thread(repository.commit, {"a.txt": "another"})
        assert await trigger.ask() == pushed
        repository.git("pack-refs", "--all", cwd=repository.bare)
        assert await trigger.ask() == pushed
        pushed = await asyncio.to_thread(repository.commit, {"a.txt": "after packing"})
        assert await trigger.ask() == pushed
        repository.git("push", "--quiet", "--force", str(repository.bare), "HEAD~2:main")
        assert await trigger.ask() == repository.git("rev-parse", "HEAD~2")
        before = count()
        monkeypatch.setattr(git_commit, "UNCHANGED_SECONDS", 0.0)
        await trigger.ask()
        assert count() == before + 1, "what the files do not show must be seen sooner or later"

    asyncio.run(asked())


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
