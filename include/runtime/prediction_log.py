"""The prediction log: each answered prediction stands in it before the answer leaves.

One file for each server process, appended to with one write(2) for each request, so that a killed process leaves
whole lines and at most one torn one, whose answer never left.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

SEGMENT_BYTES = 64 * 1024 * 1024


class PredictionLog:
    """Appends lines to ``<folder>/<name>-<start, nanoseconds>-<pid>.jsonl``, and begins a new file when one is full."""

    def __init__(self, folder: Path, name: str, segment_bytes: int = SEGMENT_BYTES):
        self.folder, self.name, self.segment_bytes = folder, name, segment_bytes
        self._lock = threading.Lock()
        self._descriptor = -1
        self._written = 0
        self._torn = False
        self.folder.mkdir(parents=True, exist_ok=True)
        self._open()

    def append(self, entry: dict[str, Any]) -> None:
        """Write one entry as one line; OSError when it could not be written, and then the answer must not leave."""
        line = json.dumps(entry, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self._lock:
            if self._torn or self._written >= self.segment_bytes:
                self._open()
            self._write(line)

    def close(self) -> None:
        """Close the file that is being written."""
        with self._lock:
            os.close(self._descriptor)

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except OSError:
                self._torn = len(rest) < len(line)  # the next entry begins a new file rather than a torn line
                raise
            rest = rest[written:]
            self._written += written

    def _open(self) -> None:
        path = self.folder / f"{self.name}-{time.time_ns()}-{os.getpid()}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o600)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._written, self._torn = descriptor, 0, False
