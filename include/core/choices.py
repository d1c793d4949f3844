"""What the trigger forms suggest: known versions, earlier releases, builds and windows, as texts to choose from.

A suggestion is the value itself, followed by what a person wants to know of it: ``3 · passed promotion · 2013-05-17``.
Airflow's form puts the whole text into the field, so :func:`value_of` takes the value out of it again. Suggestions may
be stale: any other text may be entered too, and the run's first task checks it against the store and the registry.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from include.core.build import Build
from include.core.health.record import HealthRow
from include.core.json_types import JsonObject
from include.core.release.rollback import EarlierRelease

Part = Literal["versions", "releases", "builds", "data", "windows"]
PARTS: tuple[Part, ...] = ("versions", "releases", "builds", "data", "windows")

SEPARATOR = " · "
AT_MOST = 20
"""Suggestions of one field; the newest."""
LONGEST = 200
"""Characters of a suggestion."""


@dataclass(frozen=True)
class RegisteredVersion:
    """What a form says of a version in the registry."""

    number: str
    verdict: str
    """Promotion's answer; empty if it never judged the version."""
    registered: float
    """Epoch seconds."""


@dataclass(frozen=True)
class Choices:
    """The suggestions for one model's forms, newest first."""

    versions: tuple[str, ...] = ()
    """Registered versions, for a deployment."""
    releases: tuple[str, ...] = ()
    """Versions that were in production earlier, for a rollback."""
    builds: tuple[str, ...] = ()
    """Builds that passed, for a training."""
    data: tuple[str, ...] = ()
    """Windows of training data, for a training."""
    windows: tuple[str, ...] = ()
    """Measured windows, for monitoring."""

    @classmethod
    def from_dict(cls, values: JsonObject) -> Choices:
        """The suggestions in a file; whatever is not a list of short texts is left out."""
        return cls(**{part: _texts(values.get(part)) for part in PARTS})


def value_of(text: str) -> str:
    """The value in a suggestion; any other text is a value as it is."""
    return text.partition(SEPARATOR)[0].strip()


def version_choices(versions: Iterable[RegisteredVersion]) -> tuple[str, ...]:
    """Suggestions of versions (newest first), with promotion's answer and the day of registration."""
    answers = {"pass": "passed promotion", "": "not judged by promotion"}
    return _newest(
        _suggestion(
            each.number, answers.get(each.verdict, f"refused by promotion ({each.verdict})"), _day(each.registered)
        )
        for each in versions
    )


def release_choices(earlier: Iterable[EarlierRelease]) -> tuple[str, ...]:
    """Suggestions of versions to roll back to, with the days between which each served."""
    return _newest(
        _suggestion(each.version, f"in production from {_day(each.since)} to {_day(each.until)}") for each in earlier
    )


def build_choices(builds: Iterable[Build]) -> tuple[str, ...]:
    """Suggestions of builds that passed (``builds``: newest first), with the day of the run that made each."""
    passed = [build for build in builds if build.status == "passed"]
    days = [re.search(r"\d{4}-\d\d-\d\d", build.run_id) for build in passed]
    return _newest(_suggestion(build.build_id, day[0] if day else "") for build, day in zip(passed, days, strict=True))


def data_choices(windows: Collection[str]) -> tuple[str, ...]:
    """Suggestions of windows of training data, all of one grain."""
    return _newest(sorted(windows, reverse=True))


def window_choices(health: Sequence[HealthRow]) -> tuple[str, ...]:
    """Suggestions of measured windows (``health``: oldest first), with the state of each.

    After monitoring.window has changed, there are windows of several grains: only those of the last measurement count.
    """
    last = max(health, key=lambda row: row.recorded or 0.0, default=None)
    rows = [row for row in reversed(health) if last and len(row.window) == len(last.window)]
    return _newest(_suggestion(row.window, "could not be measured" if row.problem else row.status) for row in rows)


def _suggestion(value: str, *notes: str) -> str:
    return SEPARATOR.join([value, *filter(None, notes)])[:LONGEST]


def _newest(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts)[:AT_MOST]


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(each, str) and len(each) <= LONGEST for each in values):
        return ()
    return tuple(dict.fromkeys(values))[:AT_MOST]
