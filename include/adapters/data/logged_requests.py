"""The newest requests in a model's prediction log, read from the ends of its segments."""

from __future__ import annotations

import json
import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.adapters.untrusted_files import UntrustedFileError, open_regular


@dataclass(frozen=True)
class LoggedRequest:
    """A request that a version answered."""

    rows: list[dict[str, Any]]
    """Feature → value, for each row."""
    predictions: list[float]


def newest_requests(folder: Path, version: str, count: int, most_rows: int) -> list[LoggedRequest]:
    """The newest ``count`` requests that ``version`` answered, newest first; fewer once they have ``most_rows`` rows.

    Lines that are not valid log entries are left out.
    """
    found: list[LoggedRequest] = []
    rows = 0
    for segment in sorted(folder.glob("*.jsonl"), key=lambda path: path.lstat().st_mtime_ns, reverse=True):
        try:
            descriptor = open_regular(segment)
        except (OSError, UntrustedFileError):  # not written by a model server; gathering warns of it
            continue
        with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
            newest = deque(file, maxlen=count)
        for line in reversed(newest):
            if len(found) >= count or rows >= most_rows:
                return found
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                entry = json.loads(line)
                if entry["version"] == version:
                    found.append(_request(entry["features"], entry["predictions"]))
                    rows += len(found[-1].rows)
    return found


def _request(features: dict[str, list[Any]], predictions: list[Any]) -> LoggedRequest:
    """ValueError if the columns differ in length."""
    columns = zip(predictions, *features.values(), strict=True)
    rows = [dict(zip(features, values, strict=True)) for _, *values in columns]
    return LoggedRequest(rows, [float(value) for value in predictions])
