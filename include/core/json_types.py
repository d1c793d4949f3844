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


FORMER_NAMES = {
    "moved": "total_variation",
    "leaning": "importances",
    "torn_lines": "truncated_lines",
    "broken_lines": "malformed_lines",
}
"""Keys in records that version 0.1.0 wrote → their present names."""


def with_present_names(values: Mapping[str, Any]) -> JsonObject:
    """The values with keys that version 0.1.0 wrote under their present names; nested values stay as they are."""
    return {FORMER_NAMES.get(name, name): value for name, value in values.items()}
