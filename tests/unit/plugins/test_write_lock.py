"""Requests that write hold the write lock; no other request waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from evergreen.write_lock import WriteLock


class Served:
    """A server whose requests end when the test says so."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.end = asyncio.Event()
        self.bodies: list[bytes] = []
        self.app = WriteLock(self.serve)

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        self.inside.append(scope["path"])
        self.bodies.append((await receive())["body"])
        await self.end.wait()

    def request(self, method: str, path: str, *parts: bytes, finished: bool = True) -> asyncio.Task[None]:
        messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        if finished:
            messages.append({"type": "http.request", "body": b"end", "more_body": False})

        async def receive() -> Any:
            if not messages:
                await asyncio.Event().wait()
            return messages.pop(0)

        scope = {"type": "http", "method": method, "path": path}
        return asyncio.ensure_future(self.app(scope, receive, None))


async def settled() -> None:
    """Every task has gone as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_of_two_requests_that_write_one_waits_for_the_others_end(method: str) -> None:
    async def play() -> None:
        served = Served()
        both = [served.request(method, "/api/v2/first"), served.request(method, "/execution/second")]
        await settled()
        assert served.inside == ["/api/v2/first"]
        served.end.set()
        await asyncio.gather(*both)
        assert served.inside == ["/api/v2/first", "/execution/second"]

    asyncio.run(play())


def test_reading_and_our_own_routes_wait_for_nobody() -> None:
    async def play() -> None:
        served = Served()
        served.request("POST", "/api/v2/pools")
        served.request("GET", "/api/v2/dags")
        served.request("POST", "/evergreen/alerts")  # asks this server itself: waiting would be for ever
        await settled()
        assert served.inside == ["/api/v2/pools", "/api/v2/dags", "/evergreen/alerts"]

    asyncio.run(play())


def test_a_client_that_sends_its_body_slowly_keeps_nobody_waiting() -> None:
    async def play() -> None:
        served = Served()
        served.request("POST", "/slow", b"half of it", finished=False)
        served.request("POST", "/quick")
        await settled()
        assert served.inside == ["/quick"]

    asyncio.run(play())


def test_the_body_arrives_whole_and_in_order_and_a_failed_request_ends_its_turn() -> None:
    async def play() -> None:
        served = Served()
        read: list[bytes] = []

        async def fail(scope: Any, receive: Any, send: Any) -> None:
            more = True
            while more:
                message = await receive()
                read.append(message["body"])
                more = message["more_body"]
            raise ValueError("refused")

        served.app.app = fail
        for _ in range(2):
            with pytest.raises(ValueError, match="refused"):
                await served.request("POST", "/api/v2/pools", b"one", b"two")
        assert read == [b"one", b"two", b"end"] * 2

    asyncio.run(play())
