"""A rollout under way: who owns it, which step it is at, and the figures that its step began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from include.core.json_types import JsonObject
from include.core.release.canary import ServerFigures


@dataclass(frozen=True)
class Rollout:
    """The part of a release that lasts as long as a candidate is tested, or gets more and more of the traffic."""

    run: str
    """The DAG run that owns it."""
    candidate: str
    """Version that is rolled out."""
    lease: float
    """Epoch seconds; after them another run may take over, because the owner has died."""
    step: int = 0
    """Index of the canary's step."""
    since: float = 0.0
    """When the step began, epoch seconds."""
    baseline: Mapping[str, ServerFigures] | None = None
    """Version → its counters at the step's beginning; None until they are read."""

    def as_dict(self) -> JsonObject:
        """The fields, in JSON types."""
        baseline = None
        if self.baseline is not None:
            baseline = {version: figures.as_dict() for version, figures in self.baseline.items()}
        return {
            "run": self.run,
            "candidate": self.candidate,
            "lease": self.lease,
            "step": self.step,
            "since": self.since,
            "baseline": baseline,
        }

    @classmethod
    def from_dict(cls, values: JsonObject) -> Rollout:
        """The rollout that :meth:`as_dict` gave."""
        counted = values.get("baseline")
        if counted is None:
            return cls(**values)
        return cls(
            **{**values, "baseline": {version: ServerFigures.from_dict(each) for version, each in counted.items()}}
        )

    def measured(self, figures: Mapping[str, ServerFigures]) -> Rollout:
        """The same step, with the figures that it begins with."""
        return replace(self, baseline=figures)

    def is_of(self, run: str) -> bool:
        """Whether this run owns it."""
        return self.run == run

    def blocks(self, run: str, now: float) -> bool:
        """Whether another run than ``run`` owns it and, at ``now``, may still be at work."""
        return self.run != run and now < self.lease
