"""Requests per second and latency of the prediction endpoint, measured by the same client directly and by gateway."""

from __future__ import annotations

import http.client
import json
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
    payload = json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def client() -> None:
        nonlocal failed
        connection = http.client.HTTPConnection(address, timeout=30)
        durations, errors = [], 0
        for _ in range(requests // clients):
            start = time.perf_counter()
            connection.request("POST", path, payload, headers)
            response = connection.getresponse()
            response.read()
            durations.append(time.perf_counter() - start)
            errors += response.status != 200
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
