"""What a trigger has seen is stored only once Airflow has its events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

log = logging.getLogger(__name__)

Value = TypeVar("Value")

SECONDS = 30.0
"""Airflow has recorded an event by then. It discards one whose trigger it is about to end, for example since the Dag
was just paused, and loses one if the triggerer dies; in both cases the trigger does not live that long."""


@contextmanager
def stored_later(store: Callable[[Value], Awaitable[None]]) -> Iterator[Callable[[Value], None]]:
    """A function that stores the value it was called with last, after ``SECONDS``, unless the trigger ends before.

    So each event is delivered at least once: a trigger that starts again sends those again that may have been lost.
    Only for use within an event loop.
    """
    waiting: list[asyncio.Task[None]] = []

    async def keep(value: Value) -> None:
        while True:
            await asyncio.sleep(SECONDS)
            try:
                await store(value)
            except Exception as error:  # whatever it is: the next try may succeed, and until then nothing is lost
                log.warning("what was seen could not be stored: %s. Trying again.", error)
            else:
                return

    def store_later(value: Value) -> None:
        end()
        waiting.append(asyncio.create_task(keep(value)))

    def end() -> None:
        while waiting:
            waiting.pop().cancel()

    try:
        yield store_later
    finally:
        end()
