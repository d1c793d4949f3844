"""The pages inside Airflow's web UI: all models, one model, and its windows, incidents and rollouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import yaml

from include.core.approval import APPROVAL, Waiting, is_approval, newest_approval
from include.core.health.false_incidents import in_words
from include.core.health.incident_events import asked_in
from include.core.health.policy import evaluate_policy
from include.core.overview import STATES, IncidentStory, ModelDetail, ModelOverview, RolloutStory, within_allowed
from include.core.release.checks import RolloutCheck
from include.core.spec import ModelSpec
from include.core.trace import KINDS, Trace
from include.pages.conditions import of_canary, of_intervals
from include.pages.history import history_context
from include.pages.place import Place
from include.pages.rendering import template
from include.pages.window import window_context

PAGE = 100
"""Models on one page of the list."""
AROUND = 6
"""Windows before and after an incident that its page shows."""
ANSWERS = 20
"""The newest approvals that a model's page shows."""
SORTS: dict[str, Callable[[ModelOverview], tuple[object, ...]]] = {
    "state": lambda one: (STATES.index(one.state), one.spec.name),
    "name": lambda one: (one.spec.name,),
    "owner": lambda one: (one.spec.owner, one.spec.name),
    "newest release": lambda one: (-(one.release.recorded if one.release else 0.0), one.spec.name),
    "predictions": lambda one: (-(one.newest.predictions if one.newest else 0), one.spec.name),
    "requests a minute": lambda one: (-(one.traffic.requests if one.traffic else 0.0), one.spec.name),
}


@dataclass(frozen=True)
class Query:
    """What a person wants to see of the list."""

    words: str = ""
    state: str = ""
    sort: str = "state"
    page: int = 1

    def matches(self, one: ModelOverview) -> bool:
        """Whether the model has the state, and all words in its name, owner, description or state."""
        waits = "waits for approval" if one.waiting else ""
        text = f"{one.spec.name} {one.spec.owner} {one.spec.description} {one.state} {one.sentence} {waits}".lower()
        return self.state in ("", one.state) and all(word in text for word in self.words.lower().split())


@dataclass(frozen=True)
class ModelsView:
    """The list of models, as the template shows it."""

    query: Query
    total: int
    matching: int
    shown: Sequence[ModelOverview]
    counts: Sequence[tuple[str, int]]
    """State → models in it, also those that do not match."""
    problems: Sequence[str]
    """Why the spec of a model can't be read."""
    outcomes: Mapping[str, RolloutStory]
    """Model → its newest rollout if that was rolled back."""
    sorts: Sequence[str] = tuple(SORTS)

    @property
    def first(self) -> int:
        """Number of the first model on the page."""
        return (self.query.page - 1) * PAGE + 1

    @property
    def last(self) -> int:
        """Number of the last model on the page."""
        return self.first + len(self.shown) - 1

    @property
    def previous(self) -> int | None:
        """The page before this one."""
        return self.query.page - 1 if self.query.page > 1 else None

    @property
    def following(self) -> int | None:
        """The page after this one."""
        return self.query.page + 1 if self.last < self.matching else None

    def page_link(self, place: Place, page: int) -> str:
        """The address of another page of the same list."""
        asked = {"q": self.query.words, "state": self.query.state, "sort": self.query.sort, "page": page}
        return f"{place.root}/models?{urlencode({name: value for name, value in asked.items() if value})}"

    @staticmethod
    def sparkline(one: ModelOverview) -> str:
        """The points of the primary metric over the newest windows, in a box of 100 by 24; empty below two points."""
        values = [(index, window.value) for index, window in enumerate(one.windows)]
        known = [(index, value) for index, value in values if value is not None]
        if len(known) < 2:
            return ""
        low, high = min(value for _, value in known), max(value for _, value in known)
        spread, step = (high - low) or 1.0, 100 / max(len(values) - 1, 1)
        return " ".join(f"{index * step:.0f},{22 - 20 * (value - low) / spread:.1f}" for index, value in known)


def models_view(
    models: Sequence[ModelOverview], query: Query, problems: Sequence[str], outcomes: Mapping[str, RolloutStory]
) -> ModelsView:
    """The page of the list that the query asks for; an unknown sort is by state, a page beyond the end is the last."""
    matching = sorted(filter(query.matches, models), key=SORTS.get(query.sort, SORTS["state"]))
    page = min(max(query.page, 1), max(1, -(-len(matching) // PAGE)))
    query = Query(query.words, query.state, query.sort, page)
    return ModelsView(
        query=query,
        total=len(models),
        matching=len(matching),
        shown=matching[(page - 1) * PAGE : page * PAGE],
        counts=[(state, sum(one.state == state for one in models)) for state in STATES],
        problems=problems,
        outcomes=outcomes,
    )


@dataclass(frozen=True)
class Notice:
    """What came of an action."""

    text: str
    dag: str = ""
    run: str = ""
    bad: bool = False


def render_models(place: Place, view: ModelsView) -> str:
    """The list of models."""
    return template("models.html.j2").render(place=place, view=view, title="Models")


def render_message(place: Place, title: str, text: str, login: str = "") -> str:
    """An error; ``login`` is the address to log in at, if that helps."""
    return template("message.html.j2").render(place=place, title=title, text=text, login=login)


def render_trace(
    place: Place,
    models: Sequence[str],
    *,
    asked: str = "",
    model: str = "",
    kind: str = "",
    trace: Trace | None = None,
    problem: str = "",
) -> str:
    """The form of a trace, and what was found or why nothing was."""
    return template("trace.html.j2").render(
        place=place,
        title=f"Trace of {asked}" if asked else "Trace",
        models=models,
        kinds=KINDS,
        asked=asked,
        model=model,
        kind=kind,
        trace=trace,
        problem=problem,
    )


def render_model(
    place: Place, detail: ModelDetail, *, allowed: bool, paused: bool, notice: Notice | None = None
) -> str:
    """The page of one model; ``allowed``: whether the person may start its Dags."""
    spec = detail.overview.spec
    incidents = [story.incident for story in detail.incidents]
    live = next((each for each in detail.candidates if each.version == detail.overview.live), None)
    return template("model.html.j2").render(
        history_context(spec, detail.history, incidents, detail.verdict),
        **_frame(place, detail, spec.name),
        one=detail.overview,
        approvals=[check for check in reversed(detail.checks) if is_approval(check)][:ANSWERS],
        allowed=allowed,
        paused=paused,
        importances=live.importances if live else {},
        importances_of=detail.overview.live,
        notice=notice,
        false_incidents=in_words(spec),
        intervals=of_intervals(spec),
        specification=_specification(spec),
    )


def _specification(spec: ModelSpec) -> str:
    return str(yaml.safe_dump(spec.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True))


def render_window(place: Place, detail: ModelDetail, window: str) -> str | None:
    """The page of one window; None if it was never measured."""
    spec = detail.overview.spec
    until = [row for row in detail.history if row.window <= window]
    if not until or until[-1].window != window:
        return None
    later = [row.window for row in detail.history if row.window > window]
    incidents = [story.incident for story in detail.incidents if story.incident.window <= window]
    verdict = detail.verdict if not later else evaluate_policy(spec, until, incidents).verdict
    return template("app_window.html.j2").render(
        window_context(spec, until, incidents, verdict, after=min(later, default=None)) | {"incidents": []},
        **_frame(place, detail, f"{spec.name} {window}"),
        stories=[story for story in detail.incidents if story.incident.window == window],
    )


def render_incident(place: Place, detail: ModelDetail, key: str, *, allowed: bool = False) -> str | None:
    """The page of one incident; None if there is none with this key. ``allowed``: may the person acknowledge it."""
    story = next((one for one in detail.incidents if one.incident.key == key), None)
    if story is None:
        return None
    return template("incident.html.j2").render(
        **_frame(place, detail, f"Incident {key}"),
        story=story,
        rollout=_rollout_of(detail, story),
        around=_around(detail.overview.spec, detail, story.incident.window),
        verdict=detail.verdict,
        allowed=allowed,
        waiting_for=[one for one in detail.overview.waiting if one.run == asked_in(story.events)],
    )


def render_rollout(place: Place, detail: ModelDetail, run: str) -> str | None:
    """The page of the rollout that a run made; None if the run rolled nothing out."""
    story = detail.rollout(run)
    checks = [check for check in detail.checks if check.run == run]
    if story is None and not checks:
        return None
    version = story.version if story else checks[0].version
    waiting = [one for one in detail.overview.waiting if one.run == run]
    return template("rollout.html.j2").render(
        **_frame(place, detail, f"Rollout of version {version}"),
        story=story,
        version=version,
        sentence=_rollout_sentence(version, story, checks, waiting),
        waiting_for=waiting,
        run_id=run,
        checks=checks,
        candidate=next((one for one in detail.candidates if one.version == version), None),
        thresholds=_thresholds(detail.overview.spec),
        by_chance=of_canary(detail.overview.spec),
    )


def _rollout_sentence(
    version: str, story: RolloutStory | None, checks: Sequence[RolloutCheck], waiting: Sequence[Waiting]
) -> str:
    now = [check for check in checks if check.stage == APPROVAL or not is_approval(check)]
    refused = next((check for check in reversed(now) if check.verdict.answer == "fail"), None)
    approval = newest_approval(checks, checks[0].run) if checks else None
    if approval and waiting:
        return f"Version {version} {approval.verdict.reason}."
    if story:
        return story.sentence
    if refused and refused.stage == APPROVAL:
        return f"Version {version} was not deployed: {refused.verdict.reason}."
    if refused:
        return f"Version {version} was refused in the {refused.stage}: {refused.verdict.reason}."
    if approval and approval.verdict.answer == "hold":
        return f"Version {version} was not approved in time."
    if approval:
        return f"Version {version} was {approval.verdict.reason}; its canary has not begun."
    return f"Version {version} is in the test environment."


def _frame(place: Place, detail: ModelDetail, title: str) -> dict[str, object]:
    spec = detail.overview.spec
    return {
        "place": place,
        "detail": detail,
        "title": title,
        "spec": spec,
        "window_link": lambda window: place.window(spec.name, window),
        "incident_link": lambda key: place.incident(spec.name, key),
    }


def _rollout_of(detail: ModelDetail, story: IncidentStory) -> RolloutStory | None:
    version = story.candidate.version if story.candidate else None
    return next((one for one in detail.rollouts if one.version == version), None)


def _around(spec: ModelSpec, detail: ModelDetail, window: str) -> list[tuple[object, bool | None]]:
    windows = detail.overview.windows
    place = next((index for index, one in enumerate(windows) if one.window >= window), len(windows))
    near = windows[max(0, place - AROUND) : place + AROUND + 1]
    return [(one, within_allowed(spec, one)) for one in near]


def _thresholds(spec: ModelSpec) -> list[tuple[str, object]]:
    """The limits of the rollout's checks, under their names in model.yaml."""
    now = spec.deployment
    sections = {"deployment": now, "deployment.canary": now.canary, "deployment.approval": now.approval}
    values = {f"{name}.{key}": value for name, section in sections.items() for key, value in section}
    return [(name, value) for name, value in values.items() if name not in sections and name != "deployment.shadow"]
