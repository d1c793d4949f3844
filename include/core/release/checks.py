"""The checks of a rollout: what each gate on the way to production said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from include.core.json_types import JsonObject
from include.core.verdict import Verdict


@dataclass(frozen=True)
class RolloutCheck:
    """The newest verdict of one stage of a rollout."""

    run: str
    """The Dag run that owns the rollout."""
    stage: str
    """``test environment``, ``replay``, or ``canary step <number>``."""
    version: str
    verdict: Verdict
    share: int = 0
    """Percent of production's traffic that the version had."""
    recorded: float = field(default=0.0, compare=False)
    """When the verdict was given (epoch seconds)."""

    def as_dict(self) -> JsonObject:
        """JSON values."""
        return asdict(self) | {"verdict": self.verdict.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, object], recorded: float) -> RolloutCheck:
        """The check from the output of :meth:`as_dict`."""
        known: JsonObject = {one.name: values[one.name] for one in fields(cls)}
        return cls(**{**known, "verdict": Verdict.from_dict(known["verdict"]), "recorded": recorded})
