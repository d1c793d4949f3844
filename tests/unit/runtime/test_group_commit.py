"""Requests whose predictions must be on the disk wait for one call together, and none is told so wrongly."""

import asyncio
import errno
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from include.runtime.group_commit import GroupCommit

BROKEN = OSError(errno.EIO, "Input/output error")


class Disk:
    """A disk whose calls take until they are let go, and may fail."""

    def __init__(self) -> None:
        self.calls, self.failures = 0, 0
        self.broken = False
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def sync(self) -> None:
        self.calls += 1
        self.begun.release()
        assert self.go_on.acquire(timeout=30)
        if self.broken:
            raise BROKEN

    def failed(self) -> None:
        self.failures += 1


def play(story: Callable[[GroupCommit], Coroutine[Any, Any, None]], disk: Disk) -> None:
    """Run it in an event loop of its own."""

    async def run() -> None:
        commit = GroupCommit(disk.sync, disk.failed)
        try:
            await story(commit)
        finally:
            commit.close()

    asyncio.run(run())


async def begun(disk: Disk) -> None:
    """Wait until the disk is at work."""
    assert await asyncio.to_thread(disk.begun.acquire, timeout=30)


def test_who_waits_at_the_same_time_shares_one_call() -> None:
    disk = Disk()

    async def story(commit: GroupCommit) -> None:
        disk.go_on.release()
        await asyncio.gather(*(commit.wait() for _ in range(50)))

    play(story, disk)
    assert disk.calls == 1


def test_who_comes_during_a_call_waits_for_the_next_one() -> None:
    disk = Disk()

    async def story(commit: GroupCommit) -> None:
        first = asyncio.create_task(commit.wait())
        await begun(disk)
        later = [asyncio.create_task(commit.wait()) for _ in range(10)]
        disk.go_on.release()
        await first
        await begun(disk)
        assert not any(task.done() for task in later)
        disk.go_on.release()
        await asyncio.gather(*later)

    play(story, disk)
    assert disk.calls == 2


def test_one_that_gives_up_holds_nobody_up() -> None:
    disk = Disk()

    async def story(commit: GroupCommit) -> None:
        tasks = [asyncio.create_task(commit.wait()) for _ in range(3)]
        await begun(disk)
        tasks[1].cancel()
        disk.go_on.release()
        assert [type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)] == [
            type(None),
            asyncio.CancelledError,
            type(None),
        ]

    play(story, disk)


def test_after_a_failure_nobody_is_told_that_all_is_on_the_disk() -> None:
    disk = Disk()
    disk.broken = True

    async def story(commit: GroupCommit) -> None:
        first = asyncio.create_task(commit.wait())
        await begun(disk)
        meanwhile = asyncio.create_task(commit.wait())
        await asyncio.sleep(0)
        disk.go_on.release()
        for task in (first, meanwhile, asyncio.create_task(commit.wait())):
            with pytest.raises(OSError, match="Input/output error"):
                await task

    play(story, disk)
    assert (disk.calls, disk.failures) == (1, 1)
