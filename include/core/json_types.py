"""JSON at the edges: the types of values in the store, in XCom and in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

JsonObject = dict[str, Any]
"""The JSON object that a record is written to or read from. All other code uses the record."""

Signal = str | float | bool | None | Sequence[str]
"""A figure on which a gate based its verdict."""

Signals = Mapping[str, object]
"""Name → figure, as JSON values; each gate has its own."""
