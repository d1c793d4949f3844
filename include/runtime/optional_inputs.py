"""Inputs that requests may have, lack or send as another type for now, while clients and versions change.

The platform writes them to a file next to the server's configuration, and may write it again while the server runs.
"""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path


class OptionalInputs:
    """The file ``{"<input>": "<last day, UTC>", …}``; only read for requests with other inputs than the model's."""

    def __init__(self, file: Path):
        self._file = file
        self._until: dict[str, str] = {}

    def names(self) -> frozenset[str]:
        """The inputs that are optional today."""
        with contextlib.suppress(OSError, ValueError):  # it is being written: what was read before still holds
            self._until = json.loads(self._file.read_text(encoding="utf-8"))
        today = datetime.now(UTC).date().isoformat()
        return frozenset(name for name, day in self._until.items() if today <= day)
