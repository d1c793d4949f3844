"""Incidents, and what people were asked about them, answered, and acknowledged."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import fields

import sqlalchemy as sa

from include.adapters.store_tables import incident_events, incidents
from include.adapters.store_values import plain
from include.core.health.incident_events import IncidentEvent
from include.core.health.record import Incident
from include.core.verdict import Verdict

EVENT = [incident_events.c[one.name] for one in fields(IncidentEvent)]
"""The columns of an event, in the order of its fields."""
ATTEMPTS = 20
"""How often an event is written when others write events of the same incident in the same moment."""


class StoreIncidents(ABC):
    """The operations of the store on incidents."""

    @property
    @abstractmethod
    def engine(self) -> sa.Engine:
        """SQLAlchemy's engine."""

    def record_incident(self, model: str, incident: Incident, asked: IncidentEvent | None = None) -> bool:
        """Open the incident, in one transaction with the question about it; False if it was already open."""
        try:
            with self.engine.begin() as connection:
                connection.execute(
                    incidents.insert().values(
                        model=model,
                        incident=incident.key,
                        window=incident.window,
                        recorded=time.time(),
                        verdict=plain(incident.verdict.as_dict()),
                    )
                )
                if asked:
                    _add(connection, model, asked)
        except sa.exc.IntegrityError:
            return False
        return True

    def incidents(self, model: str) -> list[Incident]:
        """All incidents, oldest first."""
        query = sa.select(incidents).where(incidents.c.model == model).order_by(incidents.c.recorded)
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
        return [Incident(row.incident, row.window, Verdict.from_dict(row.verdict), row.recorded) for row in rows]

    def record_event(self, model: str, event: IncidentEvent) -> None:
        """Add an event to its incident, as the newest."""
        for attempt in range(ATTEMPTS):
            try:
                with self.engine.begin() as connection:
                    _add(connection, model, event)
            except sa.exc.IntegrityError:  # another one got this number
                if attempt + 1 == ATTEMPTS:
                    raise
            else:
                return

    def incident_events(self, model: str, incident: str | None = None) -> list[IncidentEvent]:
        """The events of an incident, or of all incidents of the model; those of an incident oldest first."""
        table = incident_events
        query = sa.select(*EVENT).where(table.c.model == model).order_by(table.c.incident, table.c.number)
        query = query if incident is None else query.where(table.c.incident == incident)
        with self.engine.connect() as connection:
            return [IncidentEvent(*row) for row in connection.execute(query)]


def _add(connection: sa.Connection, model: str, event: IncidentEvent) -> None:
    table = incident_events
    of_incident = (table.c.model == model) & (table.c.incident == event.incident)
    number = sa.select(sa.func.coalesce(sa.func.max(table.c.number), 0) + 1).where(of_incident).scalar_subquery()
    connection.execute(
        table.insert().values(
            model=model,
            incident=event.incident,
            number=number,
            recorded=time.time(),
            kind=event.kind,
            author=event.author[:255],
            text=event.text,
            run=event.run[:255],
        )
    )
