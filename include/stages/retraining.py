"""When to retrain: applies the policy to a model's health, and opens the incident that starts one training.

The sensor, the pages, the metrics and the demo all call :func:`decide`, so they always agree.
"""

from __future__ import annotations

from collections.abc import Iterator

from include.adapters.store import Store
from include.core.health.policy import Decision, evaluate_policy, needed_history
from include.core.health.record import HealthRow, Incident
from include.core.spec import ModelSpec
from include.stages.installation import Installation

BATCH_ROWS = 12


def decide(installation: Installation, spec: ModelSpec) -> Decision:
    """The policy's current decision, given the version that serves."""
    store = installation.store
    history = needed_history(spec, _newest_first(store, spec.name))
    live = store.release(spec.name, "production").champion
    return evaluate_policy(spec, history, store.incidents(spec.name), live_version=live)


def open_incident(installation: Installation, spec: ModelSpec, incident: Incident) -> bool:
    """Open the incident, which starts the policy's cooldown; False if it was already open."""
    return installation.store.record_incident(spec.name, incident)


def _newest_first(store: Store, model: str) -> Iterator[HealthRow]:
    """All health rows, newest first, loaded lazily."""
    before = None
    while rows := store.newest_health(model, BATCH_ROWS, before=before):
        yield from reversed(rows)
        before = rows[0].window
