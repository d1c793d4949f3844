"""The server's routes as an ASGI application: those of the Open Inference Protocol, and ``/metrics``.

Plain ASGI, because a framework's routing takes longer than a compiled model's prediction.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec

from .bodies import TooLargeError, UndecodableError, decoded, length_of_json
from .group_commit import GroupCommit
from .model_server import ModelServer, not_logged

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

THREADS = 4
"""Requests of fitted models that are answered at the same time; Python runs one thread at a time, so that more would
only wait for each other."""
IMMEDIATE_BYTES = 64 * 1024
"""A compiled model answers requests up to this size, a few dozen rows, without handing them to a thread."""
JSON = "application/json"


class DisconnectedError(Exception):
    """The client closed the connection before its request was complete."""


@dataclass(frozen=True)
class Response:
    """A whole response; ``headers`` are those beside type and length of the content."""

    code: int
    content: bytes
    media_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def send(self, send: Send) -> None:
        """Send it."""
        headers = [
            (b"content-type", self.media_type.encode()),
            (b"content-length", str(len(self.content)).encode()),
            *self.headers,
        ]
        await send({"type": "http.response.start", "status": self.code, "headers": headers})
        await send({"type": "http.response.body", "body": self.content})


class Request:
    """A request's headers and body."""

    def __init__(self, scope: Mapping[str, Any], receive: Receive):
        self._headers, self._receive = dict(scope["headers"]), receive

    def header(self, name: str) -> str | None:
        """The value of a header, by its name in lower case."""
        value = self._headers.get(name.encode())
        return None if value is None else str(value.decode("latin-1"))

    async def body(self, most: int) -> bytes:
        """The body; raises TooLargeError as soon as it exceeds ``most`` bytes, and DisconnectedError."""
        length = self.header("content-length") or "0"
        if length.isdigit() and int(length) > most:
            raise TooLargeError
        parts, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise DisconnectedError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise TooLargeError
            if not message.get("more_body"):
                return b"".join(parts)


Handler = Callable[[Request], Awaitable[Response]]


class Application:
    """The server's ASGI application: its routes behind the bearer token."""

    def __init__(self, server: ModelServer):
        self.server = server
        self._token = server.token.encode()
        self._most = server.config["max_body_bytes"]
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="predict")
        self.routes = self._routes()
        self.commit = GroupCommit(server.log.sync, self._end) if server.log and server.log.durable else None
        self.failed = False
        """Whether the server ends because its log can't be written to the disk."""

    def _routes(self) -> dict[str, tuple[str, Handler]]:
        """Path → its method (GET includes HEAD) and what answers it."""
        name, version = self.server.model["name"], self.server.config["version"]
        ready = always({"ready": True})
        routes = {
            "/v2": always({"name": "evergreen", "version": "1", "extensions": ["binary_tensor_data"]}),
            "/v2/health/live": always({"live": True}),
            "/v2/health/ready": ready,
            "/metrics": self.metrics,
        }
        found: dict[str, tuple[str, Handler]] = {path: ("GET", handler) for path, handler in routes.items()}
        for base in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"):
            found[base] = ("GET", always(self.server.metadata()))
            found[f"{base}/ready"] = ("GET", ready)
            found[f"{base}/infer"] = ("POST", self.infer)
        return found

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's start and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        response = self._refusal(scope)
        if response is None:
            try:
                response = await self.routes[scope["path"]][1](Request(scope, receive))
            except DisconnectedError:
                return
        await response.send(send)

    def _refusal(self, scope: Mapping[str, Any]) -> Response | None:
        """Why the request is not answered: it lacks the token, or there is no such route; None if there is one."""
        # The scheme's name is case-insensitive (RFC 9110, section 11.1), the token is not.
        scheme, _, token = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        if not (hmac.compare_digest(token, self._token) and scheme.lower() == b"bearer"):
            return in_json(401, {"error": "send the header 'Authorization: Bearer <token>'"})
        if scope["path"] not in self.routes:
            name, version = self.server.model["name"], self.server.config["version"]
            return in_json(404, {"error": f"no such route; this server serves model '{name}', version '{version}'"})
        method = self.routes[scope["path"]][0]
        if scope["method"] != method and (scope["method"], method) != ("HEAD", "GET"):
            allow = "GET, HEAD" if method == "GET" else method
            content = {"error": f"this route takes {allow}, not {scope['method']}"}
            return in_json(405, content, ((b"allow", allow.encode()),))
        return None

    async def metrics(self, _: Request) -> Response:
        """The server's metrics in the Prometheus text format."""
        return Response(200, self.server.metrics.exposition(), "text/plain; version=0.0.4; charset=utf-8")

    async def infer(self, request: Request) -> Response:
        """Predict, and record the request's status and duration."""
        started = time.perf_counter()
        content: dict[str, Any]
        try:
            json_length = length_of_json(request.header("inference-header-content-length"))
            sent = await request.body(self._most)
            body = decoded(sent, request.header("content-encoding") or "", self._most)
        except TooLargeError:
            code, content = 413, {"error": f"the request body exceeds {self._most} bytes; send fewer rows"}
        except UndecodableError as error:
            code, content = error.code, {"error": str(error)}
        else:
            code, content = await self._answer(body, json_length)
            if code == 200 and self.commit:
                try:
                    await self.commit.wait()
                except OSError as error:
                    code, content = not_logged(error)
        self.server.metrics.count(code, time.perf_counter() - started)
        own_id = content.get("parameters", {}).get("server_request_id")
        return in_json(code, content, ((b"x-request-id", own_id.encode()),) if own_id else ())

    async def _answer(self, body: bytes, json_length: int | None) -> tuple[int, dict[str, Any]]:
        """At once if it takes less time than handing it to a thread, else in a thread."""
        if len(body) <= IMMEDIATE_BYTES and not self.server.predictor.runs_model_code:
            return self.server.answer(body, json_length)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.server.answer, body, json_length)

    def _end(self) -> None:
        """End the server, so that its supervisor starts a new one with a new file of the log."""
        self.failed = True
        os.kill(os.getpid(), signal.SIGTERM)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self._threads.shutdown()
                if self.commit:
                    self.commit.close()
                if self.server.log:
                    self.server.log.close()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return


def in_json(code: int, content: object, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Response:
    """A response with JSON."""
    return Response(code, msgspec.json.encode(content), headers=headers)


def always(content: Mapping[str, object]) -> Handler:
    """A handler that returns the same JSON for every request."""
    response = in_json(200, content)

    async def answer(_: Request) -> Response:
        return response

    return answer
