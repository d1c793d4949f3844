"""The prediction log: each prediction is logged before the response is sent.

One file per server process, appended to with one write(2) per request, so that a killed process leaves complete lines
and at most one truncated line, whose response was never sent.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import msgspec

SEGMENT_BYTES = 64 * 1024 * 1024


class LogEntry(TypedDict):
    """A predicted request; each list has one value per row."""

    request_id: str
    """The client's, or the server's if the client gave none. A row with the same one and the same key is a repeat."""
    server_request_id: NotRequired[str]
    """The server's own, which no other request has; absent in lines of servers before 0.2.0."""
    received: float
    """When it was predicted (epoch seconds)."""
    version: str
    release: str
    keys: list[str] | None
    event_times: list[str] | None
    """ISO 8601."""
    features: dict[str, list[Any]]
    predictions: list[float]
    ignored: NotRequired[list[str]]
    """Optional inputs of the request that the version does not know."""


def new_request_id() -> str:
    """A unique id: a UUID of version 7 (RFC 9562) without hyphens.

    It begins with the time, so that the range of ids in a file of predictions says whether it can contain one.
    """
    milliseconds, random = time.time_ns() // 1_000_000, secrets.randbits(74)
    number = milliseconds << 80 | 0x7 << 76 | random >> 62 << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return f"{number:032x}"


class PredictionLog:
    """Appends lines to ``<folder>/<name>-<start, nanoseconds>-<pid>.jsonl``; starts a new file when one is full."""

    def __init__(self, folder: Path, name: str, segment_bytes: int = SEGMENT_BYTES, *, durable: bool = False):
        """``durable``: :meth:`sync` will be called, also for the files that are full by then."""
        self.folder, self.name, self.segment_bytes, self.durable = folder, name, segment_bytes, durable
        self._full: list[int] = []
        """Descriptors of full files that :meth:`sync` has not seen yet."""
        self._lock = threading.Lock()
        self._descriptor = -1
        self._written = 0
        self._truncated = False
        self.folder.mkdir(parents=True, exist_ok=True)
        self._open()

    def append(self, entry: Mapping[str, object], missing: int = 0) -> None:
        """Write one entry as one line. On OSError it was not written, and the response must not be sent.

        ``missing``: how many of its values are None, if that is known: it then takes less time. ValueError if a value
        is NaN or infinite.
        """
        line = _line(entry, missing)
        with self._lock:
            if self._truncated or self._written >= self.segment_bytes:
                self._open()
            self._write(line)

    def sync(self) -> None:
        """Return once all entries so far are on the disk. On OSError, any of those since the last call may be lost.

        That a new file has its name on the disk, too, is what Linux's usual file systems promise (ext4, XFS, Btrfs).
        """
        with self._lock:
            descriptors, self._full = [*self._full, os.dup(self._descriptor)], []
        try:
            for descriptor in descriptors:
                os.fdatasync(descriptor)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def close(self) -> None:
        """Close the current file."""
        with self._lock:
            os.close(self._descriptor)

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except OSError:
                self._truncated = len(rest) < len(line)  # the next entry starts a new file, so that no line is garbled
                raise
            rest = rest[written:]
            self._written += written

    def _open(self) -> None:
        path = self.folder / f"{self.name}-{time.time_ns()}-{os.getpid()}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o600)
        if self._descriptor >= 0 and self.durable:
            self._full.append(self._descriptor)
        elif self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._written, self._truncated = descriptor, 0, False


def _line(entry: Mapping[str, object], missing: int) -> bytes:
    """The entry as a line of JSON; ValueError for NaN and infinity, which JSON does not have."""
    line = msgspec.json.encode(entry)
    # msgspec writes both as null. A text may say so, too: only then is the line decoded, which takes long.
    if b"null" in line and line.count(b"null") != missing and msgspec.json.decode(line) != entry:
        raise ValueError("NaN and infinity are not JSON compliant")
    return line + b"\n"
