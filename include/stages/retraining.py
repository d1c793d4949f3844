"""When to retrain: applies the policy to a model's health, and opens the incident that starts one training.

The sensor, the pages, the metrics and the demo all call :func:`decide`, so they always agree.
"""

from __future__ import annotations

from dataclasses import replace

from include.adapters.store import Store
from include.core.approval import CHANGED, Answer, Asked, judge_answer
from include.core.errors import GateError
from include.core.evidence import Link, retraining_question
from include.core.health.incident_events import (
    EventKind,
    IncidentEvent,
    acknowledgement,
    asked_in,
    newest_question,
    why_no_training,
)
from include.core.health.policy import Decision, evaluate_policy
from include.core.health.record import Incident
from include.core.health.summary import WindowSummary
from include.core.plain_text import one_line
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.core.windows import in_grain, key_length
from include.pages.place import Place
from include.stages.installation import Installation

WINDOWS = 10_000
"""Windows that the policy looks back at, at most."""


def decide(installation: Installation, spec: ModelSpec) -> Decision:
    """The policy's current decision, given the version that serves."""
    store = installation.store
    live = store.release(spec.name, "production").champion
    return evaluate_policy(spec, _history(store, spec), past_incidents(installation, spec), live_version=live)


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


def ask_for_training(
    installation: Installation, spec: ModelSpec, incident: Incident, run: str, airflow: str, shown: str = ""
) -> Asked | str:
    """Open the incident and ask whether it may start a training; returns the question, or why it is not asked.

    Only the run that opened the incident asks, however often: then the newest answer counts. ``airflow``: the absolute
    URL of the web UI. ``shown``: the fingerprint of the question that people saw in this run before, which Airflow
    would show again; GateError if the evidence differs by now.
    """
    store = installation.store
    event = IncidentEvent(incident.key, "asked", text=incident.verdict.reason, run=run)
    if not store.record_incident(spec.name, incident, event):
        first = asked_in(store.incident_events(spec.name, incident.key))
        if first != run:
            why = f"its question was asked in run {first}" if first else "its training was started without a question"
            return f"incident {incident.key} is open already, and {why}"
        store.record_event(spec.name, event)
    place = Place(airflow.rstrip("/"))
    links = [Link("Model", place.model(spec.name)), Link("Incident", place.incident(spec.name, incident.key))]
    live = store.release(spec.name, "production").champion
    asked = retraining_question(spec, incident, live, links)
    if asked.differs_from(shown):
        store.record_event(spec.name, IncidentEvent(incident.key, "unanswered", text=CHANGED, run=run))
        raise GateError(
            f"{spec.name}: {CHANGED}, and this run can't show it again. To retrain, run {spec.name}.training by hand."
        )
    return asked


def answer_for_training(installation: Installation, spec: ModelSpec, key: str, run: str, answer: Answer) -> Verdict:
    """Record the answer about the incident ``key``, or that nobody gave one; returns the verdict.

    Raises GateError if there is no open question of this run about it.
    """
    newest = newest_question(installation.store.incident_events(spec.name, key))
    if newest is None or newest.kind != "asked" or newest.run != run:
        raise GateError(f"{spec.name}: run {run} has no open question about incident {key}. Clear approve_retraining.")
    verdict = judge_answer(answer, spec.degradation.question, {"incident": key})
    counts = bool(verdict.signals.get("by"))
    kind: EventKind = "approved" if verdict.passed else "rejected" if counts else "unanswered"
    text = answer.remark if counts else verdict.reason
    author = answer.name if counts else ""
    installation.store.record_event(spec.name, IncidentEvent(key, kind, author, text, run))
    return verdict


def require_training_approval(installation: Installation, spec: ModelSpec, key: str) -> None:
    """Raise GateError if model.yaml lets people decide (``degradation.mode: ask``), and they did not approve."""
    if spec.degradation.mode != "ask":
        return
    problem = why_no_training(installation.store.incident_events(spec.name, key))
    if problem:
        raise GateError(
            f"{spec.name}: incident {key} starts no training without an approval (degradation.mode: ask): {problem}. "
            f"Clear approve_retraining to ask again, or run {spec.name}.training by hand."
        )


def acknowledge(installation: Installation, spec: ModelSpec, key: str, author: str, text: str) -> bool:
    """Record that a person has seen the incident; False if there is no such incident. Twice the same counts once."""
    if all(incident.key != key for incident in installation.store.incidents(spec.name)):
        return False
    event = IncidentEvent(key, "acknowledged", one_line(author, 100), one_line(text))
    if acknowledgement(installation.store.incident_events(spec.name, key)) != event:
        installation.store.record_event(spec.name, event)
    return True


def _history(store: Store, spec: ModelSpec) -> list[WindowSummary]:
    """The windows of today's grain, in today's primary metric: whole rows are only read if it has changed."""
    grain, metric = spec.monitoring.window, spec.metrics.primary
    found = store.window_summaries(WINDOWS, spec.name).get(spec.name, [])
    if all(one.metric == metric for one in found):
        return [one for one in found if len(one.window) == key_length(grain)]
    return [WindowSummary.of(row, metric) for row in store.health(spec.name, grain)]
