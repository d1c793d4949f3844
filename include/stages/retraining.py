"""When to retrain: asking the policy about a model's health, and opening the incident that starts one training.

The sensor, the pages, the metrics and the demo all ask :func:`decide`, so that all of them say the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from include.adapters.store import Store
from include.core.health.policy import Decision, evaluate_policy, needed_history
from include.core.health.record import HealthRow, Incident
from include.core.spec import ModelSpec
from include.stages.installation import Installation

ROWS_AT_ONCE = 12


def decide(installation: Installation, spec: ModelSpec) -> Decision:
    """What the policy says now, in the light of the version that serves."""
    store = installation.store
    history = needed_history(spec, _newest_first(store, spec.name))
    live = store.release(spec.name, "production").champion
    return evaluate_policy(spec, history, store.incidents(spec.name), live_version=live)


def open_incident(installation: Installation, spec: ModelSpec, incident: Incident) -> bool:
    """Open the incident, from when on the policy cools down; False when it was open already."""
    return installation.store.record_incident(spec.name, incident)


def _newest_first(store: Store, model: str) -> Iterator[HealthRow]:
    """All health rows, read as they are asked for."""
    before = None
    while rows := store.newest_health(model, ROWS_AT_ONCE, before=before):
        yield from reversed(rows)
        before = rows[0].window
