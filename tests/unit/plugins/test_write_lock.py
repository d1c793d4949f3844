"""Requests that write hold the write lock; no other request waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from evergreen import write_lock
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

    def request(
        self, method: str, path: str, *parts: bytes, finished: bool = True, send: Any = None
    ) -> asyncio.Task[None]:
        messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        if finished:
            messages.append({"type": "http.request", "body": b"end", "more_body": False})

        async def receive() -> Any:
            if not messages:
                await asyncio.Event().wait()
            return messages.pop(0)

        scope = {"type": "http", "method": method, "path": path}
        return asyncio.ensure_future(self.app(scope, receive, send))


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


async def answer(_: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": b"made"})


def test_a_client_that_does_not_read_its_response_keeps_nobody_waiting() -> None:
    """One anonymous connection could stop all writes of the api-server: of users, and of running tasks."""

    async def play() -> None:
        served = Served()
        served.app.app = answer
        reads = asyncio.Event()
        sent: list[Any] = []

        async def stuck(message: Any) -> None:
            await reads.wait()
            sent.append(message)

        async def send(message: Any) -> None:
            sent.append(message)

        slow = served.request("POST", "/slow", send=stuck)
        await settled()
        await asyncio.wait_for(served.request("POST", "/quick", send=send), 5)
        assert [message.get("status") for message in sent] == [201, None]
        reads.set()
        await slow
        assert [message.get("body") for message in sent] == [None, b"made"] * 2, "its response is complete as well"

    asyncio.run(play())


def test_the_response_to_a_failed_request_is_sent() -> None:
    async def play() -> None:
        served = Served()
        sent: list[Any] = []

        async def fail(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"sorry"})
            raise ValueError("refused")  # as Starlette does, for the server's log

        async def send(message: Any) -> None:
            sent.append(message)

        served.app.app = fail
        with pytest.raises(ValueError, match="refused"):
            await served.request("POST", "/api/v2/pools", send=send)
        assert sent[0]["status"] == 500
        assert sent[1]["body"] == b"sorry"

    asyncio.run(play())


@pytest.mark.parametrize("path", ["/api/v2/pools", "/execution/xcoms", "/evergreen/alerts", "/auth/token"])
def test_a_body_that_would_fill_the_memory_is_refused_before_it_is_read(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_lock, "MAX_BODY_BYTES", 10)

    async def play() -> None:
        served = Served()
        served.end.set()
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await served.request("POST", path, b"sixsix", b"six", b"more", b"never read", finished=False, send=send)
        assert sent[0]["status"] == 413
        assert b"exceeds 10 bytes" in sent[1]["body"]
        assert served.inside == []
        await served.request("POST", path, b"sixsix", b"1", send=send)
        assert served.inside == [path], "ten bytes are enough"

    asyncio.run(play())
