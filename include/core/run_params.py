"""The parameters of each Dag's runs, and which values are refused.

Names and types match the trigger form. Values come from the form, from REST or from another Dag, so each may be absent,
null, empty or padded with spaces; all of these mean the same. A field with suggestions may hold one of them
(:mod:`include.core.choices`). The first task of each Dag reads them through this module and refuses invalid values
before the run has done anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

from include.core.build import Build, EstimatorParameters
from include.core.choices import value_of
from include.core.errors import DataError, RunRefusedError
from include.core.json_types import Signals
from include.core.windows import Grain, window_bounds, window_of

EARLIEST_YEAR = 1900
"""No window may start earlier: a year such as 0013 is a typo."""
SHOWN_NAMES = 40
"""Parameters of an estimator function that a message lists."""
MAX_REASON = 300
"""Characters of promotion's reason in a release's note."""


def _suggested() -> str:
    """A text field for which the form has suggestions; empty by default."""
    return field(default="", metadata={"suggested": True})


@dataclass(frozen=True)
class CiParams:
    """``<model>.ci``."""

    ref: str = ""
    again: bool = False


@dataclass(frozen=True)
class TrainingParams:
    """``<model>.training``. ``signals`` is not in the form: retraining passes the incident's figures."""

    window: str = _suggested()
    build: str = _suggested()
    parameters: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""
    incident: str = ""
    signals: Signals = field(default_factory=dict)


@dataclass(frozen=True)
class DeploymentParams:
    """``<model>.deployment``."""

    version: str = _suggested()
    force: bool = False
    rollback: bool = False
    to: str = _suggested()


@dataclass(frozen=True)
class MonitoringParams:
    """``<model>.monitoring``."""

    window: str = _suggested()


@dataclass(frozen=True)
class HousekeepingParams:
    """``evergreen.housekeeping``."""

    dry_run: bool = False


@dataclass(frozen=True)
class RetrainingParams:
    """``<model>.retraining``."""

    wait: bool = False


PARAMS_OF: dict[str, type] = {
    "ci": CiParams,
    "training": TrainingParams,
    "deployment": DeploymentParams,
    "monitoring": MonitoringParams,
    "retraining": RetrainingParams,
    "housekeeping": HousekeepingParams,
}
"""Dag (without the model's name) → its parameters."""

Params = TypeVar(
    "Params", CiParams, TrainingParams, DeploymentParams, MonitoringParams, RetrainingParams, HousekeepingParams
)


def read_params(kind: type[Params], values: Mapping[str, object]) -> Params:
    """The parameters of a run: text is stripped, null and "" mean the default, and a suggestion means its value.

    Airflow has checked the types. Raises RunRefusedError for an unknown parameter, which Airflow would accept.
    """
    known = [one.name for one in fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise RunRefusedError(
            f"unknown parameter {_quoted(unknown)} (known: {', '.join(known)}). Correct it and trigger again."
        )
    suggested = {one.name for one in fields(kind) if one.metadata.get("suggested")}
    cleaned = {name: _clean(value, suggested=name in suggested) for name, value in values.items()}
    return kind(**{name: value for name, value in cleaned.items() if value is not None and value != ""})


def check_window(window: str, grain: Grain, now: datetime) -> None:
    """Refuse a window of the wrong grain, one that has not begun at ``now`` (naive UTC), and one before 1900."""
    try:
        start, _ = window_bounds(window, grain)
    except DataError as error:
        raise RunRefusedError(f"parameter 'window': {error}") from None
    if start > now:
        raise RunRefusedError(
            f"parameter 'window': {window} has not begun yet; the current {grain} is {window_of(now, grain)}. "
            "Choose an earlier one."
        )
    if start.year < EARLIEST_YEAR:
        raise RunRefusedError(f"parameter 'window': {window} is before {EARLIEST_YEAR}. Correct the year.")


def choose_build(build_id: str, builds: Sequence[Build]) -> Build:
    """The build to train with: the named one, else the newest that passed (``builds``: newest first)."""
    passed = [build for build in builds if build.status == "passed"]
    newest = ", ".join(build.build_id for build in passed[:5]) or "none"
    if not build_id:
        if not passed:
            raise RunRefusedError("no build has passed yet. Run ci, or find out why its runs failed.")
        return passed[0]
    named = next((build for build in builds if build.build_id == build_id), None)
    if named is None:
        raise RunRefusedError(
            f"parameter 'build': there is no build '{build_id}' (newest that passed: {newest}). "
            "Choose one of these, or clear the field for the newest."
        )
    if named.status != "passed":
        raise RunRefusedError(
            f"parameter 'build': the checks of '{build_id}' did not pass (newest that passed: {newest}). "
            "Choose one of these, or clear the field for the newest."
        )
    return named


def check_incident(incident: str, known: Collection[str]) -> None:
    """Refuse an unknown incident, which would otherwise be recorded as the candidate's reason."""
    if incident and incident not in known:
        newest = ", ".join(sorted(known)[-5:]) or "none"
        raise RunRefusedError(
            f"parameter 'incident': there is no incident '{incident}' (newest: {newest}). "
            "Choose one of these, or clear the field."
        )


def check_deployment(params: DeploymentParams) -> None:
    """Refuse parameters that contradict each other; the message names all of them."""
    problems = []
    if params.rollback and params.version:
        problems.append(
            f"parameters 'rollback' and 'version' contradict each other. Untick 'rollback' to deploy version "
            f"{params.version}, or move the version to 'to' to roll back to it"
        )
    if params.rollback and params.force:
        problems.append(
            "parameters 'rollback' and 'force' contradict each other. A rollback needs no 'force': untick it"
        )
    if params.to and not params.rollback:
        problems.append(f"parameter 'to' needs 'rollback'. Tick it to roll back to {params.to}, or clear 'to'")
    if params.force and not params.version and not params.rollback:
        problems.append("parameter 'force' needs a 'version'. Enter the one to deploy, or untick 'force'")
    if problems:
        raise RunRefusedError("; ".join(problems) + ".")


def check_verdict(version: str, verdict: str, reason: str, *, force: bool) -> str:
    """Why promotion refused the version that was requested; empty if it passed.

    ``verdict``: promotion's answer, empty if it never judged the version. Refused without ``force``.
    """
    if verdict == "pass":
        return ""
    refusal = f"{verdict}: {reason or 'no reason recorded'}" if verdict else "it was never judged"
    refusal = refusal if len(refusal) <= MAX_REASON else refusal[:MAX_REASON] + "…"
    if not force:
        raise RunRefusedError(
            f"parameter 'version': version {version} did not pass promotion ({refusal}). "
            "Choose another version, or tick 'force' to deploy it although promotion refused it."
        )
    return refusal


def check_parameters(accepted: EstimatorParameters | None, given: Mapping[str, object], where: str) -> None:
    """Refuse arguments that the estimator function of the build does not have.

    ``accepted`` is None for a build that does not record them: then anything may be given. ``where`` names the place of
    the arguments, as a sentence begins.
    """
    if accepted is None or accepted["any"]:
        return
    unknown = sorted(set(given) - set(accepted["names"]))
    if unknown:
        raise RunRefusedError(
            f"{where}: the estimator function has no parameter {_quoted(unknown)} "
            f"(it has: {', '.join(accepted['names'][:SHOWN_NAMES]) or 'none'}). Correct the name, or remove it."
        )


def refuse_together(*checks: Callable[[], object]) -> None:
    """Make all checks; one RunRefusedError has the messages of all that refuse."""
    problems = []
    for check in checks:
        try:
            check()
        except RunRefusedError as error:
            problems.append(str(error))
    if problems:
        raise RunRefusedError("\n".join(problems))


def check_version(version: str, known: Sequence[str]) -> str:
    """``version`` in the registry's format; refused unless it is in ``known`` (newest first)."""
    number = str(int(version)) if version.isascii() and version.isdigit() else version
    if number not in known:
        problem = f"there is no version {number}" if number.isdigit() else f"'{version}' is not a version number"
        raise RunRefusedError(
            f"parameter 'version': {problem} (known: {', '.join(known) or 'none'}). "
            "Choose one of these, or clear the field for the candidate that was offered last."
        )
    return number


def _clean(value: object, *, suggested: bool) -> Any:
    if not isinstance(value, str):
        return value
    return value_of(value) if suggested else value.strip()


def _quoted(names: Sequence[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)
