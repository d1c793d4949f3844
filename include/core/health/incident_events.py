"""What people were asked about an incident, what they answered, and who acknowledged it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

EventKind = Literal["asked", "approved", "rejected", "unanswered", "acknowledged"]
KINDS: tuple[EventKind, ...] = get_args(EventKind)


@dataclass(frozen=True)
class IncidentEvent:
    """One event of an incident; each is kept as long as the incident."""

    incident: str
    kind: EventKind
    author: str = ""
    """Name of the person; empty for what Evergreen did."""
    text: str = ""
    """What was asked or answered."""
    run: str = ""
    """The Dag run that asked; empty for an acknowledgement."""
    number: int = field(default=0, compare=False)
    """Place among the incident's events, from 1."""
    recorded: float = field(default=0.0, compare=False)
    """When it happened, epoch seconds."""

    @property
    def sentence(self) -> str:
        """The event in words, such as ``rejected by ann: not now``."""
        by = f" by {self.author}" if self.author else ""
        return f"{self.kind}{by}" + (f": {self.text}" if self.text else "")


def newest_question(events: Sequence[IncidentEvent]) -> IncidentEvent | None:
    """The newest event of asking and answering (``events``: oldest first); None if nobody was asked."""
    return next((one for one in reversed(events) if one.kind != "acknowledged"), None)


def acknowledgement(events: Sequence[IncidentEvent]) -> IncidentEvent | None:
    """The newest acknowledgement (``events``: oldest first)."""
    return next((one for one in reversed(events) if one.kind == "acknowledged"), None)


def asked_in(events: Sequence[IncidentEvent]) -> str:
    """The run that asked first; only that run may ask again. Empty if nobody was asked."""
    return next((one.run for one in events if one.kind == "asked"), "")


def why_no_training(events: Sequence[IncidentEvent]) -> str:
    """Why an incident may not start a training that needs an approval; empty if it may."""
    newest = newest_question(events)
    if newest is None:
        return "nobody was asked"
    return "" if newest.kind == "approved" else "nobody has answered yet" if newest.kind == "asked" else newest.sentence
