"""Requests per second and latency of the prediction endpoint, measured by the same client directly and by gateway.

The client writes a request that was prepared before, and reads of the response only its status and length: the time of
a fast server must not be the client's own.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Load:
    """The load test's result for one address."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def load(address: str, path: str, token: str, body: dict[str, Any], *, clients: int, requests: int) -> Load:
    """Send ``requests`` identical requests over ``clients`` keep-alive connections."""
    seconds: list[float] = []
    failed = 0
    lock = threading.Lock()
    host, _, port = address.partition(":")
    payload = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    request = head.encode() + payload

    def client() -> None:
        nonlocal failed
        durations, errors = [], 0
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(requests // clients):
                start = time.perf_counter()
                connection.sendall(request)
                status = _status_of_response(connection)
                durations.append(time.perf_counter() - start)
                errors += status != 200
        with lock:
            seconds.extend(durations)
            failed += errors

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - start
    ranked = sorted(seconds)
    return Load(
        len(ranked) / wall,
        ranked[len(ranked) // 2] * 1000,
        ranked[min(len(ranked) - 1, int(len(ranked) * 0.99))] * 1000,
        failed,
    )


def _status_of_response(connection: socket.socket) -> int:
    """Read one whole response, which must have a Content-Length; its status."""
    received = connection.recv(65536)
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, content = received.partition(b"\r\n\r\n")
    lower = head.lower()
    length = int(lower[lower.index(b"content-length:") + 15 :].split(b"\r\n", 1)[0])
    missing = length - len(content)
    while missing > 0:
        missing -= len(_more(connection))
    return int(head.split(b" ", 2)[1])


def _more(connection: socket.socket) -> bytes:
    received = connection.recv(65536)
    if not received:
        raise ConnectionError("the server closed the connection before its response was complete")
    return received
