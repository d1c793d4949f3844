"""The evidence that people get with a question, as Markdown. What others wrote is quoted, so that it stays text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from include.core.approval import Asked, in_production
from include.core.candidate import CandidateRecord
from include.core.health.record import Incident
from include.core.plain_text import quoted
from include.core.release.checks import RolloutCheck
from include.core.spec import ModelSpec, Question
from include.core.verdict import Verdict


@dataclass(frozen=True)
class Link:
    """A page about what is asked."""

    text: str
    address: str


@dataclass(frozen=True)
class ReleaseEvidence:
    """What is known of a version that waits for approval."""

    version: str
    champion: str | None
    """The version in production."""
    candidate: CandidateRecord | None
    """What is recorded of the version."""
    before: CandidateRecord | None
    """What is recorded of the version in production."""
    author: str
    """Author of the version's commit; empty if unknown."""
    checks: Sequence[RolloutCheck]
    """What the run has checked already."""


def release_question(spec: ModelSpec, evidence: ReleaseEvidence, links: Sequence[Link]) -> Asked:
    """The question whether a version may get production traffic."""
    lines = [
        f"Version **{evidence.version}** of **{spec.name}** has passed the test environment. In production now: "
        f"{in_production(evidence.champion)}.",
        "",
        *_of_candidate(evidence),
        *(f"- {_verdict(check.stage.capitalize(), check.verdict)}" for check in evidence.checks),
        "",
        _linked(links),
        "",
        "*Approve* starts its canary, and *Reject* ends this run; production is unchanged until the canary. "
        + _until(spec.deployment.approval, "the version is not deployed"),
    ]
    return Asked(f"Deploy version {evidence.version} of {spec.name}?", "\n".join(lines))


def retraining_question(spec: ModelSpec, incident: Incident, live: str | None, links: Sequence[Link]) -> Asked:
    """The question whether an incident may start a training."""
    lines = [
        f"The health of **{spec.name}** has degraded. In production now: {in_production(live)}.",
        "",
        f"- Incident {quoted(incident.key)}, confirmed by window {quoted(incident.window)}",
        f"- Reason: {quoted(incident.verdict.reason, 500)}",
        f"- Figures: {_figures(incident.verdict.signals)}",
        "",
        _linked(links),
        "",
        f"*Approve* starts one training, and *Reject* starts none. "
        f"{_until(spec.degradation.question, 'no training starts')} Either way, the incident cools down for "
        f"{spec.degradation.cooldown_windows} windows.",
    ]
    return Asked(f"Retrain {spec.name} for incident {incident.key}?", "\n".join(lines))


def _of_candidate(evidence: ReleaseEvidence) -> list[str]:
    one = evidence.candidate
    if one is None:
        return ["- Nothing is recorded of its training: it was registered by an earlier release of Evergreen."]
    lines = [
        f"- Why it was trained: {quoted(one.reason)}" + (f", incident {quoted(one.incident)}" if one.incident else ""),
        f"- {_verdict('Promotion', one.verdict)}",
        f"- On its holdout: {_holdout(one)}",
    ]
    if evidence.before:
        lines.append(f"- Version {evidence.before.version}, on its own holdout: {_holdout(evidence.before)}")
    before = f"; version {evidence.before.version}: until {quoted(evidence.before.window)}" if evidence.before else ""
    return [
        *lines,
        f"- Data: until window {quoted(one.window)}{before}",
        f"- Commit: {quoted(one.commit[:12])}" + (f" by {quoted(evidence.author, 100)}" if evidence.author else ""),
    ]


def _verdict(name: str, verdict: Verdict) -> str:
    figures = _figures(verdict.signals)
    return f"{name}: **{verdict.answer}**, {quoted(verdict.reason, 500)}" + (f" ({figures})" if figures != "–" else "")


def _holdout(one: CandidateRecord) -> str:
    if one.value is None:
        return f"{one.metric} was not measured"
    between = f" ({one.low:.4g} to {one.high:.4g})" if one.low is not None and one.high is not None else ""
    return f"{one.metric} {one.value:.4g}{between}"


def _figures(signals: Mapping[str, object]) -> str:
    known = [f"{name} {_figure(value)}" for name, value in signals.items() if value not in (None, "", [], ())]
    return ", ".join(known) or "–"


def _figure(value: object) -> str:
    if isinstance(value, int | float):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    return quoted(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


def _linked(links: Sequence[Link]) -> str:
    return " · ".join(f"[{link.text}]({link.address})" for link in links)


def _until(question: Question, otherwise: str) -> str:
    return f"Without an answer within {question.hours:g} h, {otherwise}."
