"""Serializes requests that write if Airflow's database is SQLite, which allows one writer at a time.

Airflow 3.3.2 writes its audit log on the api-server's event loop. While that write waits for another request's write,
the event loop can't finish the other write: a deadlock until SQLite times out and the request fails. Two runs triggered
at the same time are enough. Server databases lock rows instead of the whole database, so they don't need this.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

READS = {"GET", "HEAD", "OPTIONS"}
OWN_ROUTES = "/evergreen/"
"""These routes don't write themselves. Alerts and actions call this same server: they would wait for their own lock."""
MAX_BODY_BYTES = 32 * 2**20
"""Bodies are read before Airflow asks who sends them, so anyone could fill the memory with them."""


class WriteLock:
    """ASGI middleware: one writing request at a time.

    Bodies are read before the lock is taken, and responses are sent after it was released, so that no slow client holds
    it. A body of more than MAX_BODY_BYTES is answered with 413.
    """

    def __init__(self, app: Any):
        self.app = app
        self.lock = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on, holding the lock if it may write."""
        if scope["type"] != "http" or scope["method"] in READS:
            await self.app(scope, receive, send)
            return
        messages = [await receive()]
        length = len(messages[0].get("body", b""))
        while messages[-1].get("more_body") and length <= MAX_BODY_BYTES:
            messages.append(await receive())
            length += len(messages[-1].get("body", b""))
        if length > MAX_BODY_BYTES:
            await _refuse(send)
            return
        buffered = iter(messages)

        async def replay() -> Any:
            return next(buffered, None) or await receive()

        if scope["path"].startswith(OWN_ROUTES):
            await self.app(scope, replay, send)
            return
        response: list[Any] = []

        async def keep(message: Any) -> None:
            response.append(message)

        try:
            async with self.lock:
                await self.app(scope, replay, keep)
        finally:
            for message in response:
                await send(message)


async def _refuse(send: Any) -> None:
    content = json.dumps({"detail": f"the request body exceeds {MAX_BODY_BYTES} bytes; send less"}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": content})
