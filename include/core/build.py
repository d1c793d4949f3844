"""Builds and candidates: the facts about earlier stages' results that later stages need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, TypedDict

from include.core.json_types import JsonObject

MAX_NAMES, MAX_NAME = 200, 100
"""How many parameters of an estimator function are recorded, and the characters of each name."""


class EstimatorParameters(TypedDict):
    """The parameters of a build's estimator function, as the contract check found them."""

    names: list[str]
    any: bool
    """Whether it takes others too (``**kwargs``)."""


class CheckReport(TypedDict, total=False):
    """The result of one check of a build; a check that did not finish has only an answer and a reason."""

    answer: Literal["pass", "fail"]
    reason: str
    seconds: float
    file: str
    """The file with the check's complete output."""
    isolation: str
    """How the model's code was isolated from the platform."""
    parameters: EstimatorParameters
    """Of the contract check only."""


@dataclass(frozen=True)
class Build:
    """A commit whose checks ran, with the environment that was built for it."""

    model: str
    build_id: str
    """``<commit, 12 digits>-<environment, 8 digits>``."""
    commit: str
    environment: str
    """Hash of the complete lock that the environment was built from, or the image (digest or id)."""
    status: Literal["passed", "failed"]
    report: Mapping[str, CheckReport] = field(default_factory=dict)
    """Per check."""
    run_id: str = ""
    """Dag run of ``<model>.ci`` that made the build."""

    def as_dict(self) -> JsonObject:
        """The fields, as JSON values."""
        return asdict(self)

    @property
    def parameters(self) -> EstimatorParameters | None:
        """The parameters of the estimator function; None if the build was checked before they were recorded."""
        return next((report["parameters"] for report in self.report.values() if "parameters" in report), None)

    @property
    def failures(self) -> str:
        """The failed checks with their reasons, as sentences."""
        failed = {name: report for name, report in self.report.items() if report["answer"] != "pass"}
        return " ".join(f"{name}: {report['reason'].rstrip('.')}." for name, report in failed.items())


def read_parameters(values: object) -> EstimatorParameters | None:
    """The parameters in a report that the commit's own process wrote; None unless they are well-formed and few."""
    if not isinstance(values, dict) or not isinstance(values.get("any"), bool):
        return None
    names = values.get("names")
    if not isinstance(names, list) or len(names) > MAX_NAMES:
        return None
    if not all(isinstance(name, str) and len(name) <= MAX_NAME and name.isidentifier() for name in names):
        return None
    return {"names": names, "any": values["any"]}


def judge_build(
    model: str, commit: str, build_id: str, environment: str, reports: Mapping[str, CheckReport], run_id: str
) -> Build:
    """The build of a commit; it passed if it has an environment and all its checks passed."""
    passed = bool(build_id) and all(report["answer"] == "pass" for report in reports.values())
    return Build(
        model=model,
        build_id=build_id or f"{commit[:12]}-unbuilt",
        commit=commit,
        environment=environment,
        status="passed" if passed else "failed",
        report=reports,
        run_id=run_id,
    )


class TrainingReport(TypedDict, total=False):
    """A training's report: ``training.json``, written by the runtime."""

    rows: int
    holdout_rows: int
    seconds: dict[str, float]
    """Per step: read, fit, score, compile."""
    trained_until: str
    """Time of the newest row that was trained on (ISO 8601, UTC)."""
    sha256: str
    """Of the artifact."""
    parameters: dict[str, str]
    """The fitted estimator's own, defaults included; missing in reports of earlier releases of Evergreen."""
    importances: dict[str, float]
    """Feature → its share of the total permutation importance on the holdout, 0 to 1; likewise."""
    not_compiled: str
    """Why the estimator itself serves; empty if its compiled form does (``model.onnx``)."""


@dataclass(frozen=True)
class Lineage:
    """Where a model version comes from; stored with it as ``lineage.json``. Unknown fields are empty."""

    model: str = ""
    build: str = ""
    commit: str = ""
    snapshot: str = ""
    """Hash of the data that it was trained on."""
    window: str = ""
    """Newest window of the snapshot."""
    windows: tuple[str, ...] = ()
    """All of them, oldest first."""
    run_id: str = ""
    """Dag run of ``<model>.training`` that made the version."""
    reason: str = ""
    incident: str | None = None
    """The incident that the training responded to."""
    trained_until: str = ""
    """Time of the newest row that it was trained on (ISO 8601, UTC)."""
    training: TrainingReport = field(default_factory=TrainingReport)
    """What the training reported; empty until it has run."""

    def as_dict(self) -> JsonObject:
        """The fields, as JSON values."""
        return asdict(self) | {"windows": list(self.windows)}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Lineage:
        """Read ``lineage.json``; missing fields stay empty, unknown fields are ignored."""
        known = {name: values[name] for name in (each.name for each in fields(cls)) if name in values}
        return cls(**{**known, "windows": tuple(known.get("windows", ()))})
