"""How a model is doing, in one word and one sentence: from the few figures that lists read for many models at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from include.core.approval import Waiting
from include.core.build import Build
from include.core.candidate import CandidateRecord
from include.core.health.degradation import judge_window, standing
from include.core.health.incident_events import IncidentEvent, acknowledgement, newest_question
from include.core.health.record import HealthRow, Incident
from include.core.health.summary import WindowSummary
from include.core.release.checks import RolloutCheck
from include.core.release.release import RecordedRelease
from include.core.release.rollout import Rollout
from include.core.release.traffic import Traffic
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.core.windows import in_grain, key_length

State = Literal["degraded", "unmeasured", "not deployed", "paused", "rolling out", "healthy"]
STATES: tuple[State, ...] = ("degraded", "unmeasured", "not deployed", "paused", "rolling out", "healthy")
"""What needs a person comes first."""


@dataclass(frozen=True)
class ModelOverview:
    """One model as lists show it."""

    spec: ModelSpec
    state: State
    sentence: str
    """Why it is in this state."""
    release: RecordedRelease | None
    """What serves in production; None if nothing was ever deployed."""
    windows: tuple[WindowSummary, ...]
    """The newest ones, oldest first."""
    build: Build | None
    """The newest build."""
    incident: Incident | None
    """The newest incident if it is still open."""
    acknowledged: str = ""
    """Who has acknowledged it."""
    waiting: tuple[Waiting, ...] = ()
    """What people have been asked and nobody has answered yet."""
    traffic: Traffic | None = None
    """What its production servers are asked; None if nobody has counted lately."""

    @property
    def live(self) -> str | None:
        """The version in production."""
        return self.release.release.champion if self.release else None

    @property
    def rollout(self) -> Rollout | None:
        """The rollout in progress."""
        return self.release.release.rollout if self.release else None

    @property
    def share(self) -> int:
        """Percent of the traffic that the version being rolled out has."""
        rollout = self.rollout
        return self.release.release.weights.get(rollout.candidate, 0) if self.release and rollout else 0

    @property
    def measured(self) -> WindowSummary | None:
        """The newest window with a figure."""
        return next((one for one in reversed(self.windows) if one.value is not None), None)

    @property
    def newest(self) -> WindowSummary | None:
        """The newest window with predictions."""
        return next((one for one in reversed(self.windows) if one.predictions), None)


def overview(
    spec: ModelSpec,
    *,
    release: RecordedRelease | None,
    windows: Sequence[WindowSummary],
    build: Build | None,
    incident: Incident | None,
    events: Sequence[IncidentEvent] = (),
    waiting: Sequence[Waiting] = (),
    traffic: Traffic | None = None,
    paused: bool = False,
) -> ModelOverview:
    """One model's overview; ``incident`` is the newest one, ``paused``: whether its Dags start no runs by themselves.

    ``events`` are those of the incident, oldest first; ``waiting``: open questions about the model. Windows of another
    grain than today's are left out.
    """
    grain = spec.monitoring.window
    windows = [one for one in windows if len(one.window) == key_length(grain)]
    incident = replace(incident, window=in_grain(incident.window, grain)) if incident else None
    still_open = incident if incident and recovered_in(spec, incident, windows) is None else None
    state, sentence = _state(spec, release, windows, still_open, paused)
    seen = acknowledgement(events) if still_open else None
    return ModelOverview(
        spec=spec,
        state=state,
        sentence=sentence,
        release=release,
        windows=tuple(windows),
        build=build,
        incident=still_open,
        acknowledged=seen.author if seen else "",
        waiting=tuple(waiting),
        traffic=traffic,
    )


def _state(
    spec: ModelSpec,
    release: RecordedRelease | None,
    windows: Sequence[WindowSummary],
    still_open: Incident | None,
    paused: bool,
) -> tuple[State, str]:
    now = release.release if release else None
    answers = [(one, standing(spec, one)) for one in windows]
    judged = [one for one, answer in answers if answer is not None]
    bad = [one for one, answer in answers if answer == "beyond"]
    beyond = bool(judged) and judged[-1] in bad[-1:]
    if now is None or now.champion is None:
        return "not deployed", "No version has reached production yet"
    if beyond and judged[-1].version == now.champion:
        since = next(one for one in bad if one.version == now.champion)
        return "degraded", (
            f"{spec.metrics.primary} of version {now.champion} is beyond the allowed drop in {judged[-1].window}"
            + (f", since {since.window}" if since.window != judged[-1].window else "")
        )
    if still_open and judged and judged[-1].version == now.champion == _version_of(still_open):
        return "degraded", f"Incident {still_open.key}: no later window is within the allowed drop yet"
    if paused:
        return "paused", "Its Dags are paused: nothing starts by itself"
    if now.rollout:
        share = now.weights.get(now.rollout.candidate, 0)
        return "rolling out", f"Version {now.rollout.candidate} has {share} % of the traffic"
    if not judged or judged[-1].version != now.champion:
        return "unmeasured", _why_unmeasured(spec, now.champion, windows)
    if standing(spec, judged[-1]) == "uncertain":
        return (
            "healthy",
            f"{spec.metrics.primary} is beyond the allowed drop in {judged[-1].window}; that may be chance",
        )
    return "healthy", f"{spec.metrics.primary} is within the allowed drop in {judged[-1].window}"


def _version_of(incident: Incident) -> str:
    """The version that was judged when the incident was opened."""
    return str(incident.verdict.signals.get("version", ""))


def _why_unmeasured(spec: ModelSpec, live: str, windows: Sequence[WindowSummary]) -> str:
    newest = next((one for one in reversed(windows) if one.version == live), None)
    if newest is None:
        return f"Version {live} has not been measured yet"
    reason = judge_window(spec, newest)
    return f"Window {newest.window} {reason if isinstance(reason, str) else 'is of an earlier release'}"


def within_allowed(spec: ModelSpec, window: WindowSummary) -> bool | None:
    """Whether the window's figure is within the allowed drop; None if it can't be judged, or it may be chance."""
    answers: dict[str | None, bool] = {"within": True, "beyond": False}
    return answers.get(standing(spec, window))


def recovered_in(spec: ModelSpec, incident: Incident, windows: Sequence[WindowSummary]) -> str | None:
    """The first window after the incident that is within the allowed drop again; None while it is open."""
    later = (one.window for one in windows if one.window > incident.window and within_allowed(spec, one))
    return next(later, None)


@dataclass(frozen=True)
class IncidentStory:
    """What an incident led to."""

    incident: Incident
    candidate: CandidateRecord | None
    """The version that its training made."""
    released: float | None
    """When that version became champion (epoch seconds)."""
    recovered: str | None
    """The first window within the allowed drop again."""
    events: tuple[IncidentEvent, ...] = ()
    """What people were asked and answered, and who acknowledged it, oldest first."""

    @property
    def untrained(self) -> str:
        """Why nothing was trained, if people were asked and have not approved; else empty."""
        asked = newest_question(self.events)
        if self.candidate or asked is None or asked.kind == "approved":
            return ""
        return "Its training waits for approval" if asked.kind == "asked" else f"No training: {asked.sentence}"

    @property
    def sentence(self) -> str:
        """What was done, and whether it helped."""
        if self.untrained:
            done = self.untrained
        elif self.candidate is None:
            done = "Its training has not registered a version"
        elif not self.candidate.verdict.passed:
            done = f"Version {self.candidate.version} was trained and not promoted: {self.candidate.verdict.reason}"
        elif self.released is None:
            done = f"Version {self.candidate.version} was trained and promoted, and is not in production"
        else:
            done = f"Version {self.candidate.version} was trained and released"
        if self.recovered:
            return f"{done}. {self.recovered} is within the allowed drop again."
        return f"{done}. No later window is within the allowed drop yet."


def incident_story(
    spec: ModelSpec,
    incident: Incident,
    candidates: Sequence[CandidateRecord],
    releases: Sequence[RecordedRelease],
    windows: Sequence[WindowSummary],
    events: Sequence[IncidentEvent] = (),
) -> IncidentStory:
    """What an incident led to, from everything that is recorded of its model."""
    candidate = next((one for one in candidates if one.incident == incident.key), None)
    released = None
    if candidate:
        champion = (one.recorded for one in releases if one.release.champion == candidate.version)
        released = next(champion, None)
    own = tuple(event for event in events if event.incident == incident.key)
    return IncidentStory(incident, candidate, released, recovered_in(spec, incident, windows), own)


@dataclass(frozen=True)
class RolloutStory:
    """The revisions of a release that one Dag run made."""

    run: str
    version: str
    revisions: tuple[RecordedRelease, ...]
    """Oldest first; the last one ended the rollout, if it has ended."""
    ended: bool

    @property
    def promoted(self) -> bool:
        """Whether the version became champion."""
        return self.ended and self.revisions[-1].release.champion == self.version

    @property
    def sentence(self) -> str:
        """How it ended, or how far it is."""
        last = self.revisions[-1].release
        if not self.ended:
            return f"Version {self.version} has {last.weights.get(self.version, 0)} % of the traffic."
        if self.promoted:
            return f"Version {self.version} was promoted and has all traffic."
        cause = last.note.partition(": ")[2]
        serving = f"version {last.champion} serves" if last.champion else "nothing serves"
        return f"Version {self.version} was rolled back; {serving}. {cause or last.note}".rstrip(".") + "."


def rollout_stories(history: Sequence[RecordedRelease]) -> list[RolloutStory]:
    """The rollouts in a release's history (oldest first), newest first."""
    stories: list[RolloutStory] = []
    current: list[RecordedRelease] = []
    for one in history:
        rollout = one.release.rollout
        before = current[-1].release.rollout if current else None
        if before and (rollout is None or rollout.run != before.run):
            stories.append(RolloutStory(before.run, before.candidate, (*current, one), ended=True))
            current = []
        if rollout:
            current.append(one)
    last = current[-1].release.rollout if current else None
    if last:
        stories.append(RolloutStory(last.run, last.candidate, tuple(current), ended=False))
    return stories[::-1]


@dataclass(frozen=True)
class ModelDetail:
    """Everything that a model's pages show."""

    overview: ModelOverview
    verdict: Verdict
    """The policy's current verdict."""
    history: list[HealthRow]
    """All windows, oldest first."""
    candidates: list[CandidateRecord]
    rollouts: list[RolloutStory]
    incidents: list[IncidentStory]
    """Newest first, as the candidates and rollouts."""
    checks: list[RolloutCheck]

    @property
    def live_since(self) -> float | None:
        """When the version in production became champion (epoch seconds); None if no rollout says so."""
        live = (one for one in self.rollouts if one.promoted and one.version == self.overview.live)
        return next((one.revisions[-1].recorded for one in live), None)

    @property
    def earlier_releases(self) -> list[str]:
        """The versions that were champion before the present one, newest first."""
        promoted = dict.fromkeys(one.version for one in self.rollouts if one.promoted)
        return [version for version in promoted if version != self.overview.live]

    def rollout(self, run: str) -> RolloutStory | None:
        """The rollout of a Dag run, or None if it never reached production."""
        return next((one for one in self.rollouts if one.run == run), None)
