"""The socket on which the server listens: handed over by the launcher, so that the server needs no right to make it."""

from __future__ import annotations

import os
import socket


def handed_sockets() -> list[socket.socket] | None:
    """The bound socket whose descriptor is in EVERGREEN_SOCKET; None, where nothing confines the server's sockets."""
    descriptor = os.environ.get("EVERGREEN_SOCKET")
    return [socket.socket(fileno=int(descriptor))] if descriptor else None
