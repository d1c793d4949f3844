"""What lists show of all models: one query each, and a row that can't be read hides no other."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeVar

import sqlalchemy as sa

from include.adapters.store_incidents import EVENT
from include.adapters.store_tables import (
    builds,
    health,
    incident_events,
    incidents,
    release_history,
    releases,
    rollout_checks,
    traffic,
    windows,
)
from include.core.approval import APPROVAL
from include.core.build import Build
from include.core.health.incident_events import IncidentEvent
from include.core.health.record import Incident
from include.core.health.summary import WindowSummary
from include.core.json_types import JsonObject
from include.core.release.checks import RolloutCheck
from include.core.release.release import RecordedRelease, Release
from include.core.release.traffic import Traffic
from include.core.verdict import Verdict

log = logging.getLogger(__name__)
Record = TypeVar("Record")
DAMAGED = (ValueError, TypeError, KeyError, AttributeError)
"""What reading a damaged row raises."""


class StoreLists(ABC):
    """The operations of the store that read many models at once."""

    @property
    @abstractmethod
    def engine(self) -> sa.Engine:
        """SQLAlchemy's engine."""

    def window_summaries(self, newest: int, model: str | None = None) -> dict[str, list[WindowSummary]]:
        """Model → the summaries of its newest ``newest`` windows of each grain, by key; of all models, or of one."""
        grain = sa.func.length(windows.c.window)
        own = sa.true() if model is None else windows.c.model == model
        kinds = sa.select(windows.c.model, grain.label("grain")).where(own).distinct().subquery()
        other = windows.alias()
        alike = (other.c.model == kinds.c.model) & (sa.func.length(other.c.window) == kinds.c.grain)
        # A walk of the primary key from its end, for each model; numbering all windows took three times as long.
        first = sa.select(other.c.window).where(alike).order_by(other.c.window.desc()).limit(1).offset(newest - 1)
        oldest = sa.func.coalesce(first.scalar_subquery(), "").label("oldest")
        bounds = sa.select(kinds, oldest).cte("bounds")
        is_newest = (bounds.c.model == windows.c.model) & (bounds.c.grain == grain)
        is_newest &= windows.c.window >= bounds.c.oldest
        query = sa.select(windows.c.model, windows.c.window, _text(windows.c.summary)).join(bounds, is_newest)
        query = query.order_by(windows.c.model, windows.c.window)
        found: dict[str, list[WindowSummary]] = {}
        with self.engine.connect() as connection:
            for name, window, text in connection.execute(query):
                summary = _summary(text)
                if summary is None:
                    log.error("%s %s: the window's summary can't be read and is left out", name, window)
                else:
                    found.setdefault(name, []).append(summary)
        return found

    def marks(self) -> dict[str, tuple[float, ...]]:
        """Model → what differs once its releases, windows or incidents have changed; none of them is read."""
        found: defaultdict[str, list[float]] = defaultdict(list)
        for number, table in enumerate((release_history, health, incidents)):
            counted = sa.select(table.c.model, sa.func.count(), sa.func.sum(table.c.recorded)).group_by(table.c.model)
            with self.engine.connect() as connection:
                for model, count, recorded in connection.execute(counted):
                    found[model] += number, count, recorded
        return {model: tuple(mark) for model, mark in found.items()}

    def production_releases(self) -> dict[str, RecordedRelease]:
        """Model → its release in production."""
        current = (release_history.c.model == releases.c.model) & (release_history.c.revision == releases.c.revision)
        current &= release_history.c.environment == releases.c.environment
        query = sa.select(release_history.c.model, release_history.c.recorded, _text(release_history.c.release))
        query = query.join(releases, current).where(releases.c.environment == "production")
        return dict(self._each(query, lambda values, row: RecordedRelease(Release.from_dict(values), row.recorded)))

    def newest_builds(self) -> dict[str, Build]:
        """Model → its newest build, passed or not."""
        part = _newest(builds, _text(builds.c.build))
        return dict(self._each(part, lambda values, _: Build(**values)))

    def newest_incidents(self) -> dict[str, Incident]:
        """Model → the incident that was opened last."""
        part = _newest(incidents, incidents.c.incident, incidents.c.window, _text(incidents.c.verdict))

        def read(values: JsonObject, row: sa.Row[tuple[object, ...]]) -> Incident:
            return Incident(row.incident, row.window, Verdict.from_dict(values), row.recorded)

        return dict(self._each(part, read))

    def traffic(self) -> dict[str, Traffic]:
        """Model → what its production servers were asked when somebody last counted."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(traffic))
            return {row.model: Traffic(row.counted, row.requests, row.rows) for row in rows}

    def open_approvals(self) -> dict[str, list[RolloutCheck]]:
        """Model → the approvals of releases that nobody has answered, oldest first; some may be past their time."""
        table, text = rollout_checks, _text(rollout_checks.c.rollout_check)
        unanswered = sa.cast(table.c.rollout_check, sa.Text).contains('"answer": "hold"')
        query = sa.select(table.c.model, table.c.recorded, text).where((table.c.stage == APPROVAL) & unanswered)
        found: dict[str, list[RolloutCheck]] = {}
        for model, check in self._each(
            query.order_by(table.c.recorded), lambda values, row: RolloutCheck.from_dict(values, row.recorded)
        ):
            found.setdefault(model, []).append(check)
        return found

    def newest_incident_events(self) -> dict[str, list[IncidentEvent]]:
        """Model → the events of the incident that was opened last, oldest first; only models that have some."""
        newest = _newest(incidents, incidents.c.incident).subquery()
        table = incident_events
        of_newest = (table.c.model == newest.c.model) & (table.c.incident == newest.c.incident)
        found: dict[str, list[IncidentEvent]] = {}
        with self.engine.connect() as connection:
            query = sa.select(table.c.model, *EVENT).join(newest, of_newest).order_by(table.c.number)
            for model, *event in connection.execute(query):
                found.setdefault(model, []).append(IncidentEvent(*event))
        return found

    def _each(
        self, query: sa.Select[tuple[object, ...]], read: Callable[[JsonObject, sa.Row[tuple[object, ...]]], Record]
    ) -> Iterator[tuple[str, Record]]:
        """Model and record of each row; ``read`` gets the column ``json`` and the row."""
        with self.engine.connect() as connection:
            for row in connection.execute(query):
                try:
                    yield row.model, read(json.loads(row.json), row)
                except DAMAGED as error:
                    log.error("%s: a row of the store can't be read and is left out: %s", row.model, error)


@lru_cache(maxsize=20_000)
def _summary(text: str) -> WindowSummary | None:
    """The summary in a row, None if it is damaged. Windows that are over do not change, so most are read once."""
    try:
        return WindowSummary.from_dict(json.loads(text))
    except DAMAGED:
        return None


def _text(column: sa.Column[JsonObject]) -> sa.Label[str]:
    """A JSON column as text, so that a damaged one fails by itself."""
    return sa.cast(column, sa.Text).label("json")


def _newest(table: sa.Table, *columns: sa.ColumnElement[str]) -> sa.Select[tuple[object, ...]]:
    """The newest row of each model in a table with a column ``recorded``."""
    place = sa.func.row_number().over(partition_by=table.c.model, order_by=table.c.recorded.desc()).label("place")
    part = sa.select(table.c.model, table.c.recorded, *columns, place).subquery()
    return sa.select(part).where(part.c.place == 1)
