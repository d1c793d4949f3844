"""The state of one model in a few words, from the store: what ``make status`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from include.core.build import Build
from include.core.health.policy import WindowState, state_of
from include.core.health.record import HealthRow, Incident
from include.core.json_types import JsonObject
from include.core.release.release import RecordedRelease, Release
from include.core.spec import ModelSpec
from include.stages.installation import Installation

WINDOWS = 12
"""The newest windows that are looked at to see whether an incident is over."""


@dataclass(frozen=True)
class CanaryState:
    """A version that is receiving a growing share of production's traffic."""

    version: str
    share: int
    """Percent."""
    run: str


@dataclass(frozen=True)
class WindowSummary:
    """The newest measured window."""

    window: str
    metric: str
    value: float | None
    """The primary metric of the live version; None without ground truth."""
    estimate: float | None
    """The same, estimated before ground truth."""
    status: str
    state: WindowState
    reason: str
    """Why the state is unknown."""


@dataclass(frozen=True)
class BuildSummary:
    """The newest build."""

    commit: str
    status: str
    failures: str


@dataclass(frozen=True)
class ModelOverview:
    """What a model serves, how it does, and what is going on."""

    model: str
    live: str | None = None
    canary: CanaryState | None = None
    window: WindowSummary | None = None
    incident: str | None = None
    """The incident that is open."""
    build: BuildSummary | None = None
    problem: str = ""
    """Why the state could not be read; the other fields are then empty."""

    def as_dict(self) -> JsonObject:
        """JSON values."""
        return asdict(self)


def overview(installation: Installation, spec: ModelSpec) -> ModelOverview:
    """The state of one model."""
    store = installation.store
    release = store.release(spec.name, "production")
    history = store.newest_health(spec.name, WINDOWS, grain=spec.monitoring.window)
    builds = store.builds(spec.name)
    incident = open_incident(spec, store.incidents(spec.name), store.release_history(spec.name), history)
    return ModelOverview(
        spec.name,
        live=release.champion,
        canary=_canary(release),
        window=_window(history[-1], spec) if history else None,
        incident=incident.key if incident else None,
        build=_build(builds[0]) if builds else None,
    )


def open_incident(
    spec: ModelSpec,
    incidents: Sequence[Incident],
    releases: Sequence[RecordedRelease],
    history: Sequence[HealthRow],
) -> Incident | None:
    """The newest incident, unless it is over: another version was released since, or a later window is healthy."""
    if not incidents:
        return None
    newest = incidents[-1]
    champions = [each.release.champion for each in releases if each.recorded <= newest.recorded]
    before = champions[-1] if champions else None
    replaced = any(each.recorded > newest.recorded and each.release.champion != before for each in releases)
    recovered = any(row.window > newest.window and state_of(row, spec)[0] == "ok" for row in history)
    return None if replaced or recovered else newest


def _canary(release: Release) -> CanaryState | None:
    rollout = release.rollout
    if rollout is None:
        return None
    return CanaryState(rollout.candidate, release.weights.get(rollout.candidate, 0), rollout.run)


def _window(row: HealthRow, spec: ModelSpec) -> WindowSummary:
    state, reason = state_of(row, spec)
    metric = spec.metrics.primary
    actual, estimated = row.live_figure(metric), row.estimated(metric)
    return WindowSummary(
        row.window,
        metric,
        actual.value if actual else None,
        estimated.value if estimated else None,
        row.status,
        state,
        reason,
    )


def _build(build: Build) -> BuildSummary:
    return BuildSummary(build.commit, build.status, build.failures)
