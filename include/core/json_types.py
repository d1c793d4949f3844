"""JSON at the edges: what stands in the store, in XCom and in files before it becomes a record, and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

JsonObject = dict[str, Any]
"""A JSON object that a record was written as, or is read from. Code in between uses the record."""

Signal = str | float | bool | None | Sequence[str]
"""A figure that a gate went by."""

Signals = Mapping[str, Any]
"""Name → figure, in JSON values; each gate has its own."""
