"""When to retrain: applies the policy to a model's health, and opens the incident that starts one training.

The sensor, the pages, the metrics and the demo all call :func:`decide`, so they always agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from include.adapters.store import Store
from include.core.health.policy import Decision, evaluate_policy, needed_history
from include.core.health.record import HealthRow, Incident
from include.core.spec import ModelSpec
from include.core.windows import in_grain
from include.stages.installation import Installation

BATCH_ROWS = 12


def decide(installation: Installation, spec: ModelSpec) -> Decision:
    """The policy's current decision, given the version that serves."""
    store = installation.store
    history = needed_history(spec, _newest_first(store, spec))
    live = store.release(spec.name, "production").champion
    return evaluate_policy(spec, history, past_incidents(installation, spec), live_version=live)


def past_incidents(installation: Installation, spec: ModelSpec) -> list[Incident]:
    """All incidents, oldest first, each in a window of today's grain: monitoring.window may have changed since."""
    grain = spec.monitoring.window
    return [
        replace(incident, window=in_grain(incident.window, grain))
        for incident in installation.store.incidents(spec.name)
    ]


def open_incident(installation: Installation, spec: ModelSpec, incident: Incident) -> bool:
    """Open the incident, which starts the policy's cooldown; False if it was already open."""
    return installation.store.record_incident(spec.name, incident)


def _newest_first(store: Store, spec: ModelSpec) -> Iterator[HealthRow]:
    """All health rows of today's grain, newest first, loaded lazily."""
    before = None
    while rows := store.newest_health(spec.name, BATCH_ROWS, before, spec.monitoring.window):
        yield from reversed(rows)
        before = rows[0].window
