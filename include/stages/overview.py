"""Reads what pages and commands show of the models: all from the store, so that nothing waits for another service."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence

from include.core.approval import Waiting, waiting_releases, waiting_trainings
from include.core.errors import EvergreenError
from include.core.health.incident_events import IncidentEvent
from include.core.overview import (
    ModelDetail,
    ModelOverview,
    RolloutStory,
    incident_story,
    overview,
    rollout_stories,
)
from include.core.release.checks import RolloutCheck
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.stages.installation import Installation
from include.stages.retraining import decide, past_incidents

NEWEST = 12
"""Windows of a model that lists show."""
ROLLED_BACK = "rolled back by "
"""How the note of a release begins after a rollback."""
ALL = 10_000
"""Windows of a model that its own page reads."""


def overviews(
    installation: Installation, specs: Sequence[ModelSpec], paused: Collection[str] = ()
) -> list[ModelOverview]:
    """The overview of each model; ``paused`` names those whose Dags are paused. Seven queries, however many models."""
    store, now = installation.store, time.time()
    windows, releases = store.window_summaries(NEWEST), store.production_releases()
    builds, incidents = store.newest_builds(), store.newest_incidents()
    approvals, events = store.open_approvals(), store.newest_incident_events()
    traffic = {model: one for model, one in store.traffic().items() if one.current(now)}
    return [
        overview(
            spec,
            release=releases.get(spec.name),
            windows=windows.get(spec.name, []),
            build=builds.get(spec.name),
            incident=incidents.get(spec.name),
            events=events.get(spec.name, ()),
            waiting=_waiting(spec, approvals.get(spec.name, ()), events.get(spec.name, ()), now),
            traffic=traffic.get(spec.name),
            paused=spec.name in paused,
        )
        for spec in specs
    ]


def rolled_back(installation: Installation, models: Iterable[ModelOverview]) -> dict[str, RolloutStory]:
    """Model → its newest rollout, for those of the models whose newest rollout was rolled back."""
    found = {}
    for one in models:
        release = one.release.release if one.release else None
        if release and release.rollout is None and release.note.startswith(ROLLED_BACK):
            found[one.spec.name] = rollout_stories(installation.store.release_history(one.spec.name))[0]
    return found


def model_detail(installation: Installation, spec: ModelSpec, paused: bool = False) -> ModelDetail:
    """Everything that is recorded of one model."""
    store = installation.store
    summaries = store.window_summaries(ALL, spec.name).get(spec.name, [])
    releases = store.release_history(spec.name)
    candidates = store.candidates(spec.name)
    incidents, events = past_incidents(installation, spec), store.incident_events(spec.name)
    checks = store.rollout_checks(spec.name)
    of_newest = [one for one in events if incidents and one.incident == incidents[-1].key]
    first = overview(
        spec,
        release=store.production_releases().get(spec.name),
        windows=summaries,
        build=store.newest_builds().get(spec.name),
        incident=incidents[-1] if incidents else None,
        events=of_newest,
        waiting=_waiting(spec, checks, events, time.time()),
        traffic=store.traffic().get(spec.name),
        paused=paused,
    )
    try:
        verdict = decide(installation, spec).verdict
    except EvergreenError as error:
        verdict = Verdict("hold", str(error))
    return ModelDetail(
        overview=first,
        verdict=verdict,
        history=store.health(spec.name, spec.monitoring.window),
        candidates=candidates,
        rollouts=rollout_stories(releases),
        incidents=[incident_story(spec, one, candidates, releases, summaries, events) for one in reversed(incidents)],
        checks=checks,
    )


def _waiting(
    spec: ModelSpec, checks: Sequence[RolloutCheck], events: Sequence[IncidentEvent], now: float
) -> list[Waiting]:
    trainings = waiting_trainings(spec.name, events, spec.degradation.question, now)
    return [*waiting_releases(spec.name, checks, now), *trainings]
