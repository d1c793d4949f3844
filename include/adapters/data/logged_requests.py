"""The newest requests in a model's prediction log, read from the ends of its segments."""

from __future__ import annotations

import json
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LoggedRequest:
    """A request that a version answered."""

    features: dict[str, list[Any]]
    predictions: list[float]

    def rows(self) -> list[dict[str, Any]]:
        """Feature → value, for each row."""
        return [
            {name: values[number] for name, values in self.features.items()} for number in range(len(self.predictions))
        ]


def newest_requests(folder: Path, version: str, count: int, most_rows: int) -> list[LoggedRequest]:
    """The newest ``count`` requests that ``version`` answered, newest first; fewer once they have ``most_rows`` rows.

    Lines that are not valid log entries are left out.
    """
    found: list[LoggedRequest] = []
    rows = 0
    for segment in sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        with segment.open(encoding="utf-8", errors="replace") as file:
            newest = deque(file, maxlen=count)
        for line in reversed(newest):
            if len(found) >= count or rows >= most_rows:
                return found
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                if entry["version"] == version:
                    found.append(LoggedRequest(entry["features"], [float(each) for each in entry["predictions"]]))
                    rows += len(found[-1].predictions)
    return found
