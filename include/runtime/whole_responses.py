"""Send each response's headers and body together, so that a server that is killed sends all of a response or nothing.

uvicorn writes headers and body with two system calls. A process that is killed between them leaves its client with
headers only: the gateway has passed them on by then and can no longer ask the other server.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol


class WholeResponseProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol over a transport that joins writes; pass it as ``uvicorn.run(http=...)``."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put the joining transport between the protocol and its connection."""
        joined = JoiningTransport(cast(asyncio.Transport, transport), self.loop)
        super().connection_made(cast(asyncio.Transport, joined))


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
