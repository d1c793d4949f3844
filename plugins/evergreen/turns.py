"""Requests that write take turns, where Airflow's database is SQLite, which has one writer at a time.

Airflow 3.3.2 writes its audit log on the api-server's event loop. While that waits for another request's write, the
event loop can't run what ends that write: all stands still until SQLite gives up, and the request fails. Two runs
triggered at once are enough. With a server database, where rows are locked and not all of it, nothing waits.
"""

from __future__ import annotations

import asyncio
from typing import Any

READS = {"GET", "HEAD", "OPTIONS"}
OWN_ROUTES = "/evergreen/"
"""These write nothing themselves; the one for alerts asks this same server, which would wait for its own turn."""


class WritesInTurn:
    """ASGI middleware: one request that may write at a time. Its body is read first: no slow client holds a turn."""

    def __init__(self, app: Any):
        self.app = app
        self.turn = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on, in its turn if it may write."""
        if scope["type"] != "http" or scope["method"] in READS or scope["path"].startswith(OWN_ROUTES):
            await self.app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        read = iter(messages)

        async def again() -> Any:
            return next(read, None) or await receive()

        async with self.turn:
            await self.app(scope, again, send)
