"""Group commit: one call brings what several requests have written to the disk.

A request waits for the first call that begins after it has written. Those that write meanwhile share the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class GroupCommit:
    """Lets requests wait until what they have written is on the disk."""

    def __init__(self, sync: Callable[[], None], on_failure: Callable[[], None]):
        """``sync`` brings everything written so far to the disk and may take long; ``on_failure`` is called once.

        After a failure nobody knows what has been written: Linux reports it once and forgets the data. So each later
        request fails as well.
        """
        self._sync, self._on_failure = sync, on_failure
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._error: OSError | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sync")

    async def wait(self) -> None:
        """Return as soon as everything written before this call is on the disk. Raises OSError."""
        if self._error:
            raise self._error
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        await future

    def close(self) -> None:
        """End the thread; nobody waits any more."""
        self._thread.shutdown()

    async def _run(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._sync)
            except OSError as error:
                self._error = error
                group += self._waiting
                self._waiting = []
                self._on_failure()
            for future in group:
                if future.done():  # its request was cancelled
                    continue
                if self._error:
                    future.set_exception(self._error)
                else:
                    future.set_result(None)
        self._task = None
