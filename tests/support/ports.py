"""Ports of the loopback interface for tests."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

FIRST, BLOCK, BLOCKS = 21_000, 50, 200
"""Ranges of ports are blocks below the ports that the kernel gives to clients."""


def free_port() -> int:
    """A port that nothing listens on now."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Different ports that nothing listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def free_range(blocks: int = 1) -> str:
    """50 ports, or several such blocks, that nothing listens on, as ``EVERGREEN_SERVER_PORTS`` takes them.

    Each process looks elsewhere.
    """
    for number in range(BLOCKS):
        first = FIRST + (os.getpid() + number) % BLOCKS * BLOCK
        with ExitStack() as stack:
            try:
                for port in range(first, first + blocks * BLOCK):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return f"{first}-{first + blocks * BLOCK - 1}"
    raise AssertionError("no free range of ports")
