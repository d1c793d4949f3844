"""A rollout in progress: its owner, its current step, and the counters at the start of the step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from include.core.json_types import JsonObject
from include.core.release.server_figures import ServerFigures


@dataclass(frozen=True)
class Rollout:
    """The state of a release while a candidate is tested or receives a growing share of traffic."""

    run: str
    """The Dag run that owns the rollout."""
    candidate: str
    """The version that is rolled out."""
    lease: float
    """Expiry, epoch seconds; afterwards another run may take over, because the owner has died."""
    step: int = 0
    """Index of the canary's step."""
    since: float = 0.0
    """Start of the step, epoch seconds."""
    baseline: Mapping[str, ServerFigures] | None = None
    """Version → its counters at the start of the step; None until they are read."""
    resumed: int = 0
    """How often the step began again because all servers had been restarted."""

    shadowed: bool = False
    """Whether the candidate has passed the replay of logged requests."""

    def as_dict(self) -> JsonObject:
        """The fields, as JSON values."""
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
            "resumed": self.resumed,
            "shadowed": self.shadowed,
        }

    @classmethod
    def from_dict(cls, values: JsonObject) -> Rollout:
        """The rollout from the output of :meth:`as_dict`."""
        counted = values.get("baseline")
        if counted is None:
            return cls(**values)
        return cls(
            **{**values, "baseline": {version: ServerFigures.from_dict(each) for version, each in counted.items()}}
        )

    def measured(self, figures: Mapping[str, ServerFigures]) -> Rollout:
        """The same step with its baseline."""
        return replace(self, baseline=figures)

    def begun_again(self, figures: Mapping[str, ServerFigures], now: float) -> Rollout:
        """The same step from its beginning, after the platform was restarted."""
        return replace(self, baseline=figures, since=now, resumed=self.resumed + 1)

    def is_of(self, run: str) -> bool:
        """Whether this run owns the rollout."""
        return self.run == run

    def blocks(self, run: str, now: float) -> bool:
        """Whether a run other than ``run`` owns the rollout and may still be working at ``now``."""
        return self.run != run and now < self.lease
