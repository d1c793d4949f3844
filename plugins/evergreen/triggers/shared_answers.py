"""One question for all triggers of the triggerer that ask the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Asked(Generic[Answer]):
    task: asyncio.Task[Answer]
    at: float


class SharedAnswers(Generic[Answer]):
    """Answers to questions that cost something, such as a process that reads a repository's head.

    Twenty models of one repository then ask it as often as one model does. For one event loop at a time.
    """

    def __init__(self) -> None:
        self._asked: dict[Hashable, _Asked[Answer]] = {}

    async def get(self, question: Hashable, ask: Callable[[], Awaitable[Answer]], *, seconds: float) -> Answer:
        """The answer to ``question``: of an ``ask`` that was begun at most ``seconds`` ago, or of a new one.

        Raises what that ``ask`` raised. A caller that is cancelled cancels nobody else's answer.
        """
        now, loop = time.monotonic(), asyncio.get_running_loop()
        known = self._asked.get(question)
        if known is None or now - known.at > seconds or known.task.get_loop() is not loop or known.task.cancelled():
            self._asked = {key: one for key, one in self._asked.items() if now - one.at <= 60}
            known = self._asked[question] = _Asked(loop.create_task(_awaited(ask)), now)
        return await asyncio.shield(known.task)


async def _awaited(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    return await ask()
