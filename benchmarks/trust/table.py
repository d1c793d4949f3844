"""The lines of ``make trust``'s table."""

from __future__ import annotations

from dataclasses import dataclass

REPEATS = 300
"""Repetitions of each simulation; seeds are their numbers."""


@dataclass(frozen=True)
class Row:
    """A line: what is measured, its nominal value, and what was found without and with the rule that shall hold it."""

    what: str
    nominal: str
    without: str
    """What was found by the plain rule, for example rows drawn one by one; – if there is none."""
    found: str

    def __str__(self) -> str:
        return f"| {self.what} | {self.nominal} | {self.without} | {self.found} |"
