"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")


def wait_for(
    condition: Callable[[], Value], seconds: float = 60.0, what: str = "the condition", log: Path | None = None
) -> Value:
    """Ask until ``condition()`` is true and return its value; fails after ``seconds``, naming ``what``.

    The longer it takes, the less often it asks: every 10 ms at first, every 250 ms after some seconds. The failure
    shows the ``log``, if there is one.
    """
    start = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - start
        said = log.read_text(encoding="utf-8", errors="replace") if log and log.exists() else ""
        assert waited < seconds, f"waited {seconds:.0f} s for {what}\n{said}".rstrip()
        time.sleep(min(0.01 + waited / 20, 0.25))
    return value
