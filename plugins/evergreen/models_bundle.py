"""Airflow's bundle of Dag files, of which those are parsed again that read what has changed."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from airflow.configuration import conf
from airflow.dag_processing.bundles.local import LocalDagBundle
from airflow.models.dag import DagModel
from airflow.models.dagbag import DagPriorityParsingRequest
from airflow.utils.session import create_session
from sqlalchemy.orm import Session

from evergreen.missed_runs import DroppedEvents, allow_runs
from evergreen.model_dags import SHARD, readable_specs, shard_of, spec_files
from include.adapters.files import link_atomically
from include.pages.place import STAGES
from include.settings import Settings

log = logging.getLogger(__name__)

SUGGESTING = ("training", "deployment", "monitoring")
"""The stages whose trigger forms suggest values (:mod:`evergreen.choices`), which change with every run."""


@dataclass
class ParseRequests:
    """Decides which Dag files must be parsed again."""

    asked: float
    """When some were requested last (monotonic); Airflow parses all files when it starts."""
    pause: float
    """Seconds between two requests at least."""
    states: Mapping[str, Hashable] | None = None
    wanted: dict[str, int] = field(default_factory=dict)

    def due(self, now: float, states: Mapping[str, Hashable], incomplete: set[str]) -> set[str]:
        """The files to request now.

        A file's state differs when what it reads has changed. Then it is requested twice: Airflow drops a request for a
        file that is being parsed at this moment, and does not store a Dag again within ``[core]
        min_serialized_dag_update_interval``. Airflow does not have all Dags of an incomplete file, for example since a
        result could not be stored; that is requested until it has.
        """
        before = states if self.states is None else self.states
        self.wanted |= {file: 2 for file in states if states[file] != before.get(file)}
        self.states = states
        if now - self.asked < self.pause:
            return set()
        return (self.wanted.keys() | incomplete) & states.keys()

    def done(self, now: float, files: set[str], parse_seconds: float) -> None:
        """They were requested; parsing and storing them takes up to ``parse_seconds`` with one process.

        Files that are requested are parsed before all others: the next request waits for them, or the last ones in the
        queue would never be parsed.
        """
        self.asked = now + max(0.0, parse_seconds - self.pause)
        self.wanted = {file: left for file, times in self.wanted.items() if (left := times - (file in files))}


class ModelsBundle(LocalDagBundle):
    """The folder of Dags, by links that let each model belong to one of some folders (:func:`shard_of`).

    Its files read each ``model.yaml`` and what the trigger forms suggest. Airflow itself notices only that a Dag file
    has changed, and would have to parse, and store, the Dags of all models all the time. It refreshes bundles every
    ``[dag_processor] refresh_interval`` seconds, in the Dag processor only. Specifications that have changed are read
    here, so that the processes that parse, which are forked from this one, know them. A parse also ends the watchers
    of Dags that were paused, and starts those of Dags that were resumed.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._dags, self._path = self._path, Settings.from_environment().dag_files
        # Airflow does not store a Dag again within this interval: of two requests, at least one is after it.
        pause = 2 * conf.getfloat("core", "min_serialized_dag_update_interval")
        self._requests = ParseRequests(time.monotonic(), pause)
        self._expected: set[str] = set()
        self._dropped = DroppedEvents()

    def initialize(self) -> None:
        """Make the links that are missing or lead elsewhere."""
        for link, target in self._links().items():
            link_atomically(link, target)
        super().initialize()

    def refresh(self) -> None:
        """Make the links match the models, request parses that are due, and let runs start that Airflow has missed."""
        self.initialize()
        links, models = self._links(), len(spec_files())
        self._remove_others(links)
        with create_session() as session:
            stored = self._stored(session)
            now, states = time.monotonic(), self._states(links, models, {dag.dag_id for dag in stored if dag.is_paused})
            if states != self._requests.states:
                specs, _ = readable_specs()
                self._expected = {f"{spec.name}.{stage}" for spec in specs for stage in STAGES}
            live = {dag.dag_id for dag in stored if _stage_of(dag.dag_id) in STAGES}
            incomplete = {_file_of(dag, models) for dag in live ^ self._expected}
            if files := self._requests.due(now, states, incomplete):
                self._request(session, files)
                seconds = {dag.relative_fileloc: dag.last_parse_duration or 0.0 for dag in stored}
                self._requests.done(now, files, 2 * sum(seconds.get(file, 0.0) for file in files))
        with create_session() as session:
            if late := self._dropped.queue(session, self.name):
                log.info("queued for asset events that Airflow dropped: %s", ", ".join(sorted(late)))
            if held := allow_runs(session, self.name):
                log.info("may start runs again: %s", ", ".join(sorted(held)))

    def _links(self) -> dict[Path, Path]:
        """Target by link. A shard that exists is kept, without models too: Airflow may still know Dags as in it."""
        models = spec_files()
        shards = {shard_of(path.parent.name, len(models)) for path in models}
        shards |= {path.name for path in self.path.glob(f"{SHARD}*")}
        links = {}
        for target in self._dags.iterdir():
            if target.suffix == ".py" and target.stem in STAGES:
                links.update({self.path / shard / target.name: target for shard in shards})
            elif target.name != "__pycache__":
                links[self.path / target.name] = target
        return links

    def _remove_others(self, links: Mapping[Path, Path]) -> None:
        """Remove the links to what there is no more; Airflow then ends their Dags."""
        for path in {*self.path.glob("*"), *self.path.glob(f"{SHARD}*/*")} - links.keys():
            if path.is_symlink() and not path.name.startswith("."):
                path.unlink(missing_ok=True)

    def _states(self, links: Mapping[Path, Path], models: int, paused: set[str]) -> dict[str, Hashable]:
        """Of each Dag file: what it reads, and which of its Dags are paused."""
        settings = Settings.from_environment()
        specs: defaultdict[str, list[Hashable]] = defaultdict(list)
        choices: defaultdict[str, list[Hashable]] = defaultdict(list)
        for path, state in _files(settings.models, "*/model.yaml"):
            specs[""].append(state)
            specs[shard_of(path.parent.name, models)].append(state)
        for path, state in _files(settings.choices, "*.json"):
            choices[shard_of(path.stem, models)].append(state)
        resting: defaultdict[str, list[Hashable]] = defaultdict(list)
        for dag in sorted(paused):
            resting[_file_of(dag, models)].append(dag)
        states: dict[str, Hashable] = {}
        for link in (link.relative_to(self.path) for link in links if link.suffix == ".py"):
            suggested = choices[link.parent.name] if link.stem in SUGGESTING else ()
            states[str(link)] = (*specs[link.parent.name], *suggested, *resting[str(link)])
        return states

    def _stored(self, session: Session) -> Sequence[Any]:
        """Each Dag that Airflow has now: its name, its file, how long that took to parse, whether it is paused."""
        columns = (DagModel.dag_id, DagModel.relative_fileloc, DagModel.last_parse_duration, DagModel.is_paused)
        return session.execute(sa.select(*columns).where(DagModel.bundle_name == self.name, ~DagModel.is_stale)).all()

    def _request(self, session: Session, files: set[str]) -> None:
        """Do what *Reparse Dag* in Airflow's web UI does, for each of the files that is not requested yet."""
        request = DagPriorityParsingRequest
        pending = session.scalars(sa.select(request.relative_fileloc).where(request.bundle_name == self.name))
        for file in sorted(files - set(pending)):
            session.add(request(self.name, file))


def _file_of(dag: str, models: int) -> str:
    return f"{shard_of(dag.rpartition('.')[0], models)}/{_stage_of(dag)}.py"


def _stage_of(dag: str) -> str:
    return dag.rpartition(".")[2]


def _files(folder: Path, pattern: str) -> Iterator[tuple[Path, Hashable]]:
    """Files, each with what differs when it has changed."""
    for path in sorted(folder.glob(pattern)):
        with suppress(OSError):  # just removed; or a link to nothing, which is reported when it is read
            state = path.stat()
            yield path, (str(path), state.st_mtime_ns, state.st_size, state.st_ino)
