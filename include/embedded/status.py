"""``python -m include.embedded status``: the health of the platform's parts, and the state of its models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from include.core.errors import EvergreenError
from include.core.health.summary import WindowSummary
from include.core.json_types import JsonObject
from include.core.overview import ModelOverview
from include.core.plain_text import one_line
from include.embedded import components, platform
from include.settings import Settings

OUTSIDE = ("database", "broker")
"""Servers that the platform uses and does not start."""
DOWN = "the platform is down. 'make up' starts it."


@dataclass(frozen=True)
class PartStatus:
    """A component, a model server or a model's route."""

    name: str
    state: str
    address: str
    problem: str | None


@dataclass(frozen=True)
class CanaryStatus:
    """A version that receives a growing share of production's traffic."""

    version: str
    share: int
    """Percent."""
    run: str


@dataclass(frozen=True)
class BuildStatus:
    """The newest build."""

    commit: str
    status: str
    failures: str


@dataclass(frozen=True)
class ModelStatus:
    """What a model serves, how it does, and what is going on."""

    model: str
    state: str = ""
    sentence: str = ""
    """Why it is in this state."""
    live: str | None = None
    canary: CanaryStatus | None = None
    window: WindowSummary | None = None
    """The newest window with predictions."""
    incident: str | None = None
    """The incident that is open."""
    build: BuildStatus | None = None
    problem: str = ""
    """Why the state could not be read; the other fields are then empty."""

    @classmethod
    def of(cls, one: ModelOverview) -> ModelStatus:
        """The status of a model that could be read."""
        rollout, build = one.rollout, one.build
        return cls(
            one.spec.name,
            one.state,
            one.sentence,
            live=one.live,
            canary=CanaryStatus(rollout.candidate, one.share, rollout.run) if rollout else None,
            window=one.newest,
            incident=one.incident.key if one.incident else None,
            build=BuildStatus(build.commit, build.status, build.failures) if build else None,
        )


@dataclass(frozen=True)
class PlatformStatus:
    """The whole platform; without parts and models while it is down."""

    running: bool
    parts: tuple[PartStatus, ...] = ()
    models: tuple[ModelStatus, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether the platform runs, no part has a problem, and the state of each model can be read.

        A degraded model is a state, not a fault of the platform: retraining takes care of it.
        """
        return self.running and not any(part.problem for part in self.parts) and not any(m.problem for m in self.models)

    def as_dict(self) -> JsonObject:
        """JSON values."""
        parts = [asdict(part) for part in self.parts]
        models = [asdict(model) for model in self.models]
        return {"healthy": self.healthy, "running": self.running, "parts": parts, "models": models}

    def as_json(self) -> str:
        """One JSON document."""
        return json.dumps(self.as_dict(), indent=2)

    def as_text(self) -> str:
        """Two tables: one line per part, one line per model."""
        if not self.running:
            return DOWN
        parts = [(part.name, part.state, part.address, part.problem or "healthy") for part in self.parts]
        text = table(("part", "state", "address", "health"), parts)
        header = ("model", "live", "canary", "newest window", "open incident", "newest build", "state")
        models = [_cells(model) for model in self.models]
        return f"{text}\n\n{table(header, models)}" if models else text


def read_status(settings: Settings) -> PlatformStatus:
    """Ask all parts of the platform, and read the state of its models."""
    if not platform.running(settings):
        return PlatformStatus(running=False)
    return PlatformStatus(True, _parts(settings), _models(settings))


def fault(name: str, states: Mapping[str, str], answers: Mapping[str, str | None]) -> str | None:
    """What is wrong with a supervised program, if anything.

    For its first seconds, supervisord reports STARTING also for one that already responds.
    """
    state = states.get(name, "MISSING")
    if state == "RUNNING" or (state == "STARTING" and name in answers):
        return answers.get(name)
    return answers.get(name) or f"supervisord reports {state}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; the last one may be of any length."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    padded = ("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def _parts(settings: Settings) -> tuple[PartStatus, ...]:
    states, servers = platform.states(settings), components.server_problems(settings)
    own = list(components.commands(settings))
    supervised = own if settings.engine == "docker" else [*own, *sorted(set(states) - set(own))]
    answers = {**platform.problems(settings), **servers}
    faults = {**servers, **{name: fault(name, states, answers) for name in supervised}}
    faults |= {name: answers[name] for name in OUTSIDE if name in answers} | components.route_problems(settings)
    urls = components.addresses(settings)
    names = [*supervised, *(name for name in faults if name not in supervised)]
    return tuple(
        PartStatus(
            name,
            states.get(name, "RUNNING" if faults[name] is None else "BROKEN"),
            urls.get(name, ""),
            faults[name],
        )
        for name in names
    )


def _models(settings: Settings) -> tuple[ModelStatus, ...]:
    """Each model that has a folder or a release; one that can't be read has the problem."""
    from include.adapters.spec_file import load_spec
    from include.stages.installation import open_installation
    from include.stages.overview import overviews

    installation = open_installation(settings)
    names = {path.parent.name for path in settings.models.glob("*/model.yaml")}
    specs, found = [], {}
    try:
        names |= {model for model, _ in installation.store.released()}
        for name in names:
            try:
                specs.append(load_spec(settings.models / name / "model.yaml"))
            except EvergreenError as error:
                found[name] = ModelStatus(name, problem=str(error))
        found |= {one.spec.name: ModelStatus.of(one) for one in overviews(installation, specs)}
    except Exception as error:  # whatever is wrong with the store
        problem = str(error) if isinstance(error, EvergreenError) else f"{type(error).__name__}: {error}"
        found = {name: ModelStatus(name, problem=problem) for name in names}
    return tuple(found[name] for name in sorted(found))


def _cells(model: ModelStatus) -> tuple[str, ...]:
    if model.problem:
        return model.model, "?", "?", "?", "?", "?", one_line(model.problem)
    canary = f"{model.canary.version} at {model.canary.share} %" if model.canary else "-"
    build = model.build
    built = f"{build.status} {build.commit[:12]}" + (f": {build.failures}" if build.failures else "") if build else "-"
    window = _window(model.window) if model.window else "-"
    state = one_line(f"{model.state}: {model.sentence}")
    return model.model, model.live or "-", canary, window, model.incident or "-", one_line(built), state


def _window(window: WindowSummary) -> str:
    value = "unknown" if window.value is None else f"{window.value:.4g}"
    if window.value is None and window.estimate is not None:
        value = f"{window.estimate:.4g} (estimated)"
    return one_line(f"{window.window}: {window.metric} {value}")
