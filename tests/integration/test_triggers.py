"""What the triggers see, in a real repository and a real lake, and what they remember after a restart."""

# ruff: noqa: F811 - fixtures of another module

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_ci import home, repository  # noqa: F401
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


def test_the_trigger_sees_the_first_commit_and_each_new_one_once(repository, caplog):
    from evergreen.triggers.git_commit import GitCommitTrigger

    async def watch() -> list[str]:
        trigger = GitCommitTrigger("tiny", url="repositories/tiny.git", branch="main")
        trigger.asset_state_store = state = KeptState()
        events = trigger.run()
        first = await asyncio.wait_for(anext(events), 30)
        assert "commit" not in state.values, "kept before its event was handed over: a crash would lose the commit"
        nothing_new = asyncio.create_task(anext(events))
        done, _ = await asyncio.wait([nothing_new], timeout=0.5)
        assert not done, "the same commit came twice"
        moved = repository.bare.rename(repository.bare.with_name("moved.git"))
        await asyncio.sleep(0.5)
        moved.rename(repository.bare)
        pushed = await asyncio.to_thread(repository.commit, {"a.txt": "new"})
        second = await asyncio.wait_for(nothing_new, 30)
        assert second.payload["commit"] == pushed
        await events.aclose()
        return [first.payload["commit"], pushed]

    head = repository.git("rev-parse", "HEAD")
    commits = asyncio.run(watch())
    assert commits[0] == head
    complaints = [record for record in caplog.records if "can't see commits" in record.getMessage()]
    assert len(complaints) <= 1, "a repository that is gone must be logged once"


def test_the_trigger_remembers_what_it_saw_after_a_restart(repository):
    from evergreen.triggers.git_commit import GitCommitTrigger

    async def restarted() -> bool:
        trigger = GitCommitTrigger("tiny", url="repositories/tiny.git", branch="main")
        trigger.asset_state_store = KeptState()
        await trigger.asset_state_store.aset("commit", repository.git("rev-parse", "HEAD"))
        event = asyncio.create_task(anext(trigger.run()))
        done, _ = await asyncio.wait([event], timeout=0.5)
        event.cancel()
        return not done

    assert asyncio.run(restarted())


def partitions(home: Path, *windows: str) -> Path:
    """Put a partition of each window into the lake; returns the folder."""
    folder = home / "tiny"
    folder.mkdir(exist_ok=True)
    for window in windows:
        (folder / f"{window}.parquet").write_bytes(b"rows of " + window.encode())
    return folder


@pytest.fixture
def lake(home, monkeypatch) -> Iterator[Path]:
    """The model's empty lake, which is looked at often."""
    monkeypatch.setenv("EVERGREEN_DATA_POLL_SECONDS", "0.05")
    monkeypatch.setenv("AIRFLOW_CONN_EVERGREEN_LAKE", '{"conn_type": "fs", "extra": {"path": ""}}')
    yield partitions(home)
    shutil.rmtree(home / "tiny")


@pytest.mark.parametrize("before", [[], ["2013-01", "2013-02"]], ids=["the first ever", "others are there"])
def test_new_partitions_are_seen_and_old_ones_are_not(home, lake, before):
    from evergreen.triggers.data_partition import DataPartitionTrigger

    async def watch() -> list[str]:
        partitions(home, *before)
        trigger = DataPartitionTrigger(model="tiny")
        trigger.asset_state_store = state = KeptState()
        events = trigger.run()
        waiting = asyncio.create_task(anext(events))
        await asyncio.to_thread(wait_for, lambda: "windows" in state.values, 30, "the first look")
        assert (state.values["windows"], waiting.done()) == (before, False)
        partitions(home, "2013-03", "2013-04", "tmp-2013-05")
        seen = [(await asyncio.wait_for(waiting, 10)).payload["window"]]
        assert state.values["windows"] == before, "kept before its event was handed over: a crash would lose it"
        seen.append((await asyncio.wait_for(anext(events), 10)).payload["window"])
        done, _ = await asyncio.wait([asyncio.create_task(anext(events))], timeout=0.5)
        assert not done, "a temporary file is not a partition"
        return seen

    assert asyncio.run(watch()) == ["2013-03", "2013-04"]


def test_partitions_that_came_while_nothing_was_watching_are_seen(home, lake):
    from evergreen.triggers.data_partition import DataPartitionTrigger

    async def watch() -> str:
        trigger = DataPartitionTrigger(model="tiny")
        trigger.asset_state_store = KeptState()
        await trigger.asset_state_store.aset("windows", ["2013-01"])
        partitions(home, "2013-01", "2013-02")
        return str((await asyncio.wait_for(anext(trigger.run()), 10)).payload["window"])

    assert asyncio.run(watch()) == "2013-02"


def test_a_partition_is_announced_once_it_is_written(home, lake):
    """Otherwise training would read half of it, fail, and not start again."""
    from evergreen.triggers.data_partition import DataPartitionTrigger

    complete = asyncio.Event()
    looks = []

    class BesideAWriter(DataPartitionTrigger):
        """Before each look, the partition has grown, until it is complete."""

        def look(self) -> dict[str, str]:
            looks.append("")
            if not complete.is_set():
                with (lake / "2013-01.parquet").open("ab") as file:
                    file.write(b"more")
            return super().look()

    async def watch() -> str:
        trigger = BesideAWriter(model="tiny")
        trigger.asset_state_store = KeptState()
        await trigger.asset_state_store.aset("windows", [])
        event = asyncio.create_task(anext(trigger.run()))
        await asyncio.to_thread(wait_for, lambda: len(looks) > 5, 30, "some looks")
        assert not event.done(), "announced while it grows"
        complete.set()
        return str((await asyncio.wait_for(event, 10)).payload["window"])

    assert asyncio.run(watch()) == "2013-01"
