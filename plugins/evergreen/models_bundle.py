"""Airflow's bundle of Dag files, which are parsed again when what they read has changed."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from airflow.dag_processing.bundles.local import LocalDagBundle
from airflow.models.dag import DagModel
from airflow.models.dagbag import DagPriorityParsingRequest
from airflow.utils.session import create_session
from sqlalchemy.orm import Session

from evergreen.model_dags import readable_specs
from include.pages.place import STAGES
from include.settings import Settings

PAUSE = 30.0
"""Seconds between two requests at least: parsing the Dags of a thousand models takes two processors ten seconds."""


@dataclass
class ParseRequests:
    """Decides when the Dag files must be parsed again."""

    asked: float
    """When that was requested last (monotonic); Airflow parses all files when it starts."""
    pause: float = PAUSE
    state: Hashable = None
    wanted: int = 0

    def due(self, now: float, state: Hashable, complete: bool, parse_seconds: float = 0.0) -> bool:
        """Whether to request it now.

        ``state`` differs when what the files read has changed. Then they are requested twice: Airflow drops a request
        for a file that is being parsed at this moment, and does not store a Dag again within ``[core]
        min_serialized_dag_update_interval`` (30 s). ``complete`` says that Airflow has the Dags that it should have;
        if not, for example since a result could not be stored, they are requested until it has. Files that are
        requested are parsed before all others, so the next request waits until all have been parsed, which takes
        ``parse_seconds`` with one process.
        """
        if self.state is not None and state != self.state:
            self.wanted = 2
        self.state = state
        return (self.wanted > 0 or not complete) and now - self.asked >= max(self.pause, 2 * parse_seconds)

    def done(self, now: float) -> None:
        """It was requested."""
        self.asked, self.wanted = now, max(0, self.wanted - 1)


class ModelsBundle(LocalDagBundle):
    """The folder of Dags. Its files read each ``model.yaml`` and what the trigger forms suggest.

    Airflow itself notices only that a Dag file has changed, so that it would have to parse all of them all the time.
    It refreshes bundles every ``[dag_processor] refresh_interval`` seconds, in the Dag processor only. Specifications
    that have changed are read here, so that the processes that parse, which are forked from this one, know them.
    """

    def __init__(self, *, pause: float = PAUSE, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._requests = ParseRequests(time.monotonic(), pause)
        self._expected: set[str] = set()

    def refresh(self) -> None:
        """Request a parse of all Dag files if one is due."""
        now, state = time.monotonic(), tuple(_files(Settings.from_environment()))
        if state != self._requests.state:
            specs, _ = readable_specs()
            self._expected = {f"{spec.name}.{stage}" for spec in specs for stage in STAGES}
        with create_session() as session:
            live, parse_seconds = self._stored(session)
            if self._requests.due(now, state, live == self._expected, parse_seconds):
                self._request(session)
                session.commit()
                self._requests.done(now)

    def _stored(self, session: Session) -> tuple[set[str], float]:
        """The Dags of models that Airflow has now, and how long it took to parse all files."""
        columns = (DagModel.dag_id, DagModel.relative_fileloc, DagModel.last_parse_duration)
        rows = session.execute(sa.select(*columns).where(DagModel.bundle_name == self.name, ~DagModel.is_stale)).all()
        seconds = {file: duration or 0.0 for _, file, duration in rows}
        return {dag for dag, _, _ in rows if dag.rpartition(".")[2] in STAGES}, sum(seconds.values())

    def _request(self, session: Session) -> None:
        """Do what *Reparse Dag* in Airflow's web UI does, for each file that is not requested yet."""
        request = DagPriorityParsingRequest
        pending = sa.select(request.relative_fileloc).where(request.bundle_name == self.name)
        for file in {path.name for path in self.path.glob("*.py")} - set(session.scalars(pending)):
            session.add(request(self.name, file))


def _files(settings: Settings) -> Iterator[tuple[str, int, int, int]]:
    """What the Dag files read; an entry differs when its file has changed."""
    for folder, name in ((settings.models, "*/model.yaml"), (settings.choices, "*.json")):
        for path in sorted(folder.glob(name)):
            with suppress(OSError):  # just removed; or a link to nothing, which is reported when it is read
                state = path.stat()
                yield str(path), state.st_mtime_ns, state.st_size, state.st_ino
