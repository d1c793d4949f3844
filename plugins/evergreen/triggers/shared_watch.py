"""One watch for all triggers of the triggerer that wait for the same."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


@dataclass
class Watch(Generic[Answer]):
    """The current answer to a question. An exception is an answer, too."""

    answer: Answer | Exception | None = None
    number: int = 0
    """How many times the answer has been another one than before."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def newer(self, number: int) -> tuple[int, Answer | Exception]:
        """The newest answer and its number, as soon as that is larger than ``number``."""
        while self.number <= number:
            await self.changed.wait()
        assert self.answer is not None
        return self.number, self.answer

    def set(self, answer: Answer | Exception) -> None:
        """Wake those who wait, if this is another answer; an error is another one if it says something else."""
        if self.number and _compared(answer) == _compared(self.answer):
            return
        self.answer, self.number = answer, self.number + 1
        self.changed.set()
        self.changed = asyncio.Event()


def _compared(answer: object) -> object:
    return (type(answer), str(answer)) if isinstance(answer, Exception) else answer


@dataclass
class _Shared(Generic[Answer]):
    watch: Watch[Answer]
    asking: asyncio.Task[None]
    members: int = 0


class SharedWatches(Generic[Answer]):
    """Asks each question at intervals, for all together who wait for another answer to it.

    A thousand models of fifty repositories then cost as much as fifty models.

    :param longest_wait: seconds; as long as the answer is an exception, it is asked for less and less often.
    """

    def __init__(self, longest_wait: float) -> None:
        self.longest_wait = longest_wait
        self._shared: dict[Hashable, _Shared[Answer]] = {}

    @contextmanager
    def joined(self, question: Hashable, ask: Callable[[], Awaitable[Answer]], pause: float) -> Iterator[Watch[Answer]]:
        """The watch of this question, which begins with the first and ends with the last who has joined it.

        ``ask`` and ``pause``, in seconds, are those of the first one. Only for use within an event loop.
        """
        key = (asyncio.get_running_loop(), question)
        shared = self._shared.get(key)
        if shared is None:
            watch: Watch[Answer] = Watch()
            shared = self._shared[key] = _Shared(watch, asyncio.create_task(self._keep_asking(watch, ask, pause)))
        shared.members += 1
        try:
            yield shared.watch
        finally:
            shared.members -= 1
            if not shared.members:
                del self._shared[key]
                shared.asking.cancel()

    async def _keep_asking(self, watch: Watch[Answer], ask: Callable[[], Awaitable[Answer]], pause: float) -> None:
        wait = pause
        while True:
            try:
                watch.set(await ask())
                wait = pause
            except Exception as error:  # whatever it is: who waits must learn of it, and may be helped later
                watch.set(error)
                wait = min(wait * 2, max(self.longest_wait, pause))
            await asyncio.sleep(wait * random.uniform(0.9, 1.1))  # so that not everything is asked at once
