"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")


def wait_for(
    condition: Callable[[], Value],
    seconds: float = 60.0,
    what: str | Callable[[], str] = "the condition",
    log: Path | None = None,
) -> Value:
    """Ask until ``condition()`` is true and return its value; fails after ``seconds``, naming ``what``.

    The longer it takes, the less often it asks: every 10 ms at first, every 250 ms after some seconds, and every second
    after a minute, since asking takes time from what it waits for. The failure shows the ``log``, if there is one;
    ``what`` may be called then, to say how far it has come.
    """
    start = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - start
        if waited >= seconds:
            said = log.read_text(encoding="utf-8", errors="replace") if log and log.exists() else ""
            awaited = what() if callable(what) else what
            raise AssertionError(f"waited {seconds:.0f} s for {awaited}\n{said}".rstrip())
        time.sleep(min(0.01 + waited / 20, max(0.25, waited / 60), 1.0))
    return value
