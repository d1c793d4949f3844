"""Serializes requests that write if Airflow's database is SQLite, which allows one writer at a time.

Airflow 3.3.2 writes its audit log on the api-server's event loop. While that write waits for another request's write,
the event loop can't finish the other write: a deadlock until SQLite times out and the request fails. Two runs triggered
at the same time are enough. Server databases lock rows instead of the whole database, so they don't need this.
"""

from __future__ import annotations

import asyncio
from typing import Any

READS = {"GET", "HEAD", "OPTIONS"}
OWN_ROUTES = "/evergreen/"
"""These routes don't write. The one for alerts calls this same server, so it would wait for its own lock."""


class WriteLock:
    """ASGI middleware: one writing request at a time. Bodies are read first, so that no slow client holds the lock."""

    def __init__(self, app: Any):
        self.app = app
        self.lock = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on, holding the lock if it may write."""
        if scope["type"] != "http" or scope["method"] in READS or scope["path"].startswith(OWN_ROUTES):
            await self.app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        buffered = iter(messages)

        async def replay() -> Any:
            return next(buffered, None) or await receive()

        async with self.lock:
            await self.app(scope, replay, send)
