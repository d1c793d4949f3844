"""The model server's connections: each response leaves whole, and clients that send nothing are disconnected.

uvicorn writes headers and body with two system calls. A process that is killed between them leaves its client with
headers only: the gateway has passed them on by then and can no longer ask the other server. uvicorn also waits without
end for a request that has begun, and for the first one of a connection: connections that send nothing would take all
descriptors that the process may have.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS = 60.0
"""Within this time, a whole request must have arrived on a new connection, or after the previous response."""
MAX_CONNECTIONS = 1024
"""With more connections, the one that has waited longest for a request is closed. A process may open 4096 files."""
MAX_HEADER_BYTES = 64 * 1024
"""A request may have this much that is not its body, and this many bytes for each byte of body in chunks."""
MAX_CHUNK_OVERHEAD = 16
_turns = itertools.count()


class ServerProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with whole responses and limits; pass it as ``uvicorn.run(http=...)``."""

    deadline: asyncio.TimerHandle | None = None
    """When the connection is closed, while it waits for a request."""
    turn = 0
    """Its place among all that began to wait; those that did within one millisecond have the same deadline."""
    _received = _body = 0
    """Bytes since the last whole request: all of them, and those of the body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put the joining transport between the protocol and its connection; make room for it."""
        joined = JoiningTransport(cast(asyncio.Transport, transport), self.loop)
        super().connection_made(cast(asyncio.Transport, joined))
        others = [other for other in self.connections if isinstance(other, ServerProtocol) and other.deadline]
        if len(self.connections) > MAX_CONNECTIONS and others:
            longest = min(others, key=lambda other: other.turn)
            longest.transport.abort()
            self.connections.discard(longest)  # at once, not when its end is reported
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Handle what the client has sent; close the connection if it is headers without end."""
        self._received += len(data)
        super().data_received(data)
        if self._received > MAX_HEADER_BYTES + MAX_CHUNK_OVERHEAD * self._body:
            self.transport.abort()
            return
        self._watch()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        self._received = self._body = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Handle the next request, if it has begun already."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._stop_watching()

    def _watch(self) -> None:
        """Close the connection in time unless a whole request arrives."""
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self._stop_watching()
        elif self.deadline is None:
            self.deadline, self.turn = self.loop.call_later(REQUEST_SECONDS, self.transport.abort), next(_turns)

    def _stop_watching(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


class JoiningTransport:
    """Collects what is written within one step of the event loop, and writes it with one system call."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop):
        self._transport, self._loop = transport, loop
        self._pending: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Add to what the end of this step sends."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)

    def close(self) -> None:
        """Send what was collected, then close the connection."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        data, self._pending = b"".join(self._pending), []
        if data:
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the connection's own."""
        return getattr(self._transport, name)
