"""Requests that go on while something happens, and what their client saw."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable

import requests


class Traffic:
    """Sends one prediction request after another until it is stopped; none is sent twice."""

    def __init__(self, send: Callable[[str], requests.Response], pause: float = 0.0):
        """``send`` asks for a prediction with the request id that it is given; ``pause`` is in seconds."""
        self._send, self._pause = send, pause
        self.answered: dict[str, str] = {}
        """Request id → the version that answered."""
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    @property
    def versions(self) -> Counter[str]:
        """How often each version answered."""
        return Counter(list(self.answered.values()))

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _go_on(self) -> None:
        while not self._stop.wait(self._pause):
            identity = f"traffic-{uuid.uuid4().hex}"
            try:
                answer = self._send(identity)
            except requests.RequestException as error:
                self.failures.append(repr(error))
                continue
            if answer.status_code == 200:
                self.answered[identity] = answer.json()["model_version"]
            else:
                self.failures.append(f"{answer.status_code} {answer.text[:200]}")
