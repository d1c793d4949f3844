"""What should serve, what does serve, and the steps from one to the other.

A deployment writes one :class:`Release` (desired state) by compare-and-swap on its revision. The reconciler observes,
calls :func:`plan` and acts. It is idempotent: rerun it after a crash and it completes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from include.core.errors import RunRefusedError
from include.core.json_types import JsonObject
from include.core.release.rollout import Rollout

Environment = Literal["test", "production"]


@dataclass(frozen=True)
class Release:
    """Desired state of one model in one environment."""

    model: str
    environment: Environment
    revision: int = 0
    """Number of changes; 0 means that nothing was ever deployed."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """Version (as text) → share of traffic in percent; the shares sum to 100, or the mapping is empty."""
    standby: tuple[str, ...] = ()
    """Versions that stay loaded without traffic, so that a rollback only changes routes."""
    champion: str | None = None
    """The version to which the registry's alias ``champion`` points."""
    rollout: Rollout | None = None
    """Set while a candidate is tested or a canary is running."""
    note: str = ""
    """Why this revision was made."""

    def as_dict(self) -> JsonObject:
        """The fields, as JSON values."""
        return {
            "model": self.model,
            "environment": self.environment,
            "revision": self.revision,
            "weights": dict(self.weights),
            "standby": list(self.standby),
            "champion": self.champion,
            "rollout": self.rollout.as_dict() if self.rollout else None,
            "note": self.note,
        }

    @classmethod
    def from_dict(cls, values: JsonObject) -> Release:
        """The release from the output of :meth:`as_dict`."""
        rollout = Rollout.from_dict(values["rollout"]) if values.get("rollout") else None
        return cls(**{**values, "standby": tuple(values.get("standby", ())), "rollout": rollout})

    @property
    def loaded(self) -> frozenset[str]:
        """All versions whose servers must be running."""
        return frozenset(self.weights) | frozenset(self.standby)

    def begin_canary(self, candidate: str, share: int, rollout: Rollout, note: str) -> Release:
        """The next revision, in which ``candidate`` gets ``share`` percent and the champion the rest."""
        if self.champion is None or share >= 100:
            weights = {candidate: 100}
        else:
            weights = {self.champion: 100 - share, candidate: share}
        standby = tuple(v for v in (self.champion, *self.standby) if v and v not in weights)
        return replace(self, revision=self.revision + 1, weights=weights, standby=standby, rollout=rollout, note=note)

    def promote(self, candidate: str, note: str) -> Release:
        """The next revision, in which ``candidate`` is champion and the previous champion is on standby."""
        before = self.champion if self.champion != candidate else None
        standby = (before,) if before else tuple(v for v in self.standby if v != candidate)
        return replace(
            self,
            revision=self.revision + 1,
            weights={candidate: 100},
            standby=standby,
            champion=candidate,
            rollout=None,
            note=note,
        )

    def abandon(self, note: str) -> Release:
        """The next revision, in which only the champion serves and the canary is removed."""
        candidate = self.rollout.candidate if self.rollout else None
        return replace(
            self,
            revision=self.revision + 1,
            weights={self.champion: 100} if self.champion else {},
            standby=tuple(v for v in self.standby if v not in (candidate, self.champion)),
            rollout=None,
            note=note,
        )

    def load(self, version: str, note: str) -> Release:
        """The next revision, in which ``version`` is loaded too, without traffic; this one if it is loaded already."""
        if version in self.loaded:
            return self
        return replace(self, revision=self.revision + 1, standby=(*self.standby, version), note=note)

    def unload(self, version: str, note: str) -> Release:
        """The next revision, in which ``version`` is not on standby."""
        standby = tuple(each for each in self.standby if each != version)
        return replace(self, revision=self.revision + 1, standby=standby, note=note)

    def roll_back(self, run: str, to: str = "") -> Release:
        """The revision after a manual rollback; this revision if ``run`` already made it.

        With ``to``, that version becomes champion. Without it, a rollout in progress is ended; otherwise the standby
        version becomes champion. Raises RunRefusedError when there is none.
        """
        if self.is_rollback_of(run):  # a retry of this run must not roll back again
            return self
        if to and to != self.champion:
            return self.promote(to, f"rolled back to {to} by hand in {run}")
        if self.rollout:
            return self.abandon(f"ended by hand in {run}")
        if to:
            return self
        if not self.standby:
            raise RunRefusedError(
                f"parameter 'rollback': there is no earlier release of {self.model} to roll back to. "
                "Untick 'rollback' and enter the version to deploy."
            )
        return self.promote(self.standby[0], f"rolled back by hand in {run}")

    def is_rollback_of(self, run: str) -> bool:
        """Whether this revision is the rollback that ``run`` made by hand."""
        return self.note.endswith(f" by hand in {run}")


@dataclass(frozen=True)
class RecordedRelease:
    """A revision in the history."""

    release: Release
    recorded: float
    """When it was written, epoch seconds."""


@dataclass(frozen=True)
class Observed:
    """The observed state: servers, traffic shares at the gateway, and the registry's alias."""

    servers: Mapping[str, str] = field(default_factory=dict)
    """Version → state: ``ready``, ``starting`` or ``broken``."""
    weights: Mapping[str, int] = field(default_factory=dict)
    champion: str | None = None


@dataclass(frozen=True)
class Action:
    """One step of the reconciler."""

    verb: Literal["start", "await_ready", "route", "set_champion", "stop"]
    version: str | None = None
    weights: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """As in a log line: ``start 3``, ``route {'3': 100}``."""
        return f"{self.verb} {self.version or dict(self.weights)}"


def plan(desired: Release, observed: Observed) -> list[Action]:
    """The actions that turn ``observed`` into ``desired``, in a safe order.

    Servers start and become ready before they receive traffic, the alias moves only after the traffic, and a server
    stops only when nothing is routed to it. An empty plan means that both states match.
    """
    actions: list[Action] = []
    for version in sorted(desired.loaded):
        state = observed.servers.get(version)
        if state in (None, "broken"):
            actions.append(Action("start", version))
        if state != "ready":
            actions.append(Action("await_ready", version))
    if desired.environment == "production":
        if dict(desired.weights) != dict(observed.weights):
            actions.append(Action("route", weights=dict(desired.weights)))
        if desired.champion and desired.champion != observed.champion:
            actions.append(Action("set_champion", desired.champion))
    actions.extend(Action("stop", version) for version in sorted(set(observed.servers) - desired.loaded))
    return actions
