"""Ports on 127.0.0.1: whether one is free, and the port of the next model server."""

from __future__ import annotations

import socket
from collections.abc import Collection

from include.core.errors import PlatformError
from include.settings import Settings


def is_free(port: int) -> bool:
    """Whether the port is free to listen on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_server_port(settings: Settings, taken: Collection[int]) -> int:
    """The first port of the installation's range that is free and not ``taken``, or PlatformError."""
    for port in settings.server_port_range:
        if port not in taken and is_free(port):
            return port
    raise PlatformError(
        f"no port is free for a model server (EVERGREEN_SERVER_PORTS={settings.server_ports}). Widen the range."
    )
