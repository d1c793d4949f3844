"""From any id to its cause, and to what came of it: prediction, release, version, training, snapshot, build, commit.

Reads the store, the registry, the lake and the prediction log, and changes none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from include.core.build import Build
from include.core.errors import AmbiguousIdError, UnknownIdError
from include.core.release.release import Release
from include.core.spec import ModelSpec
from include.core.trace import KINDS, FoundRequest, Key, Kind, Node, Trace
from include.core.trace_nodes import (
    INCIDENT_RUN,
    build_node,
    commit_node,
    incident_node,
    prediction_node,
    release_id,
    release_node,
    snapshot_nodes,
    training_node,
    training_without_version,
    version_node,
    window_node,
)
from include.core.windows import window_of
from include.stages.installation import Installation
from include.stages.trace_lookup import SEARCHED, Match, matches
from include.stages.trace_records import UNGATHERED, Records

MOST_NODES = 500
"""Of more nodes, the oldest windows and releases are left out."""
MOST_CANDIDATES = 20
"""How many things an error lists that an id can mean."""


def trace(
    installation: Installation,
    specs: Sequence[ModelSpec],
    wanted: str,
    *,
    model: str = "",
    kind: Kind | None = None,
) -> Trace:
    """What the id ``wanted`` came from, and what came of it.

    It is a request's id (the client's or the server's), a version (``late:3``, ``late/3``, or ``3`` with ``model``), a
    release (``production@7``), a build, a commit, snapshot or environment (at least 7 digits), an image's digest, a
    window, an incident's key, or the id of a Dag run. ``specs``: the models among which it is searched; ``kind``: only
    search things of this kind. Requests, whose number is large, are only searched if it is nothing else.

    Raises UnknownIdError if nothing has this id, AmbiguousIdError if several things have it.
    """
    wanted = wanted.strip()
    searched = [Records(installation, spec) for spec in specs if model in ("", spec.name)]
    if not wanted or not searched:
        known = ", ".join(spec.name for spec in specs) or "none"
        raise UnknownIdError(f"model '{model}' does not exist (known: {known})." if wanted else "Give an id.")
    meant = [match for records in searched for match in _matches(records, wanted)]
    meant = [match for match in meant if kind is None or match.keys[0].kind == kind]
    requests: dict[Key, FoundRequest] = {}
    if not meant and kind in (None, "prediction"):
        meant, requests = _search_requests(searched, wanted)
    notes = [note for records in searched for note in records.notes]
    if len({match.identity for match in meant}) != 1:
        raise _no_single_match(wanted, meant, searched, kind, notes)
    starts = tuple(key for match in meant for key in match.keys)
    collected: list[Node] = []
    for records in searched:
        chain = _Chain(records, requests)
        for key in starts:
            if key.model == records.model:
                chain.add(key)
        collected += chain.nodes.values()
    nodes, left_out = _bounded(collected, starts)
    notes = [note for records in searched for note in records.notes]
    return Trace(wanted, meant[0].meaning, starts, tuple(nodes), (*dict.fromkeys(notes), *left_out))


def _matches(records: Records, wanted: str) -> list[Match]:
    """Also for an id behind the model's name, such as ``late:3``."""
    found = matches(records, wanted)
    for separator in (":", "/"):
        name, _, rest = wanted.partition(separator)
        if name == records.model and rest:
            found += matches(records, rest)
    return found


def _search_requests(searched: Sequence[Records], wanted: str) -> tuple[list[Match], dict[Key, FoundRequest]]:
    """The requests with this id. Those with the same keys are repeats of one, as monitoring counts them."""
    meant, requests = [], {}
    for records in searched:
        same: dict[tuple[object, ...], list[Key]] = {}
        grain = records.spec.monitoring.window
        for request in records.find_requests(wanted).found:
            key = Key("prediction", records.model, request.own_id)
            requests[key] = request
            exact = wanted if request.server_request_id == wanted else ""  # a repeat has a server's id of its own
            windows = tuple(window_of(time, grain) for time in request.event_times)
            same.setdefault((exact, request.keys, windows), []).append(key)
        meant += [Match(records.model, "prediction", tuple(reversed(keys))) for keys in same.values()]
    return meant, requests


def _no_single_match(
    wanted: str, meant: Sequence[Match], searched: Sequence[Records], kind: Kind | None, notes: Sequence[str]
) -> UnknownIdError | AmbiguousIdError:
    models = ", ".join(records.model for records in searched)
    remarks = "".join(f"\n{note}" for note in notes)
    if not meant:
        what = f"those of kind {kind}" if kind else ", ".join(SEARCHED)
        return UnknownIdError(
            f"'{wanted}' is not known. Searched, of {models}: {what}. Check the id; housekeeping may have removed it "
            f"with its window (retention in model.yaml).{remarks}"
        )
    shown = "\n".join(f"  {match}" for match in meant[:MOST_CANDIDATES])
    more = f"\n  and {len(meant) - MOST_CANDIDATES} more" if len(meant) > MOST_CANDIDATES else ""
    return AmbiguousIdError(
        f"'{wanted}' can be one of {len(meant)}:\n{shown}{more}\n"
        f"Give the model, the kind ({', '.join(KINDS)}), or an id from this list.{remarks}"
    )


def _bounded(nodes: list[Node], starts: Sequence[Key]) -> tuple[list[Node], list[str]]:
    """The nodes in the order of KINDS, and what was left out of them."""
    ordered = sorted(nodes, key=lambda node: KINDS.index(node.kind))
    surplus = len(ordered) - MOST_NODES
    if surplus <= 0:
        return ordered, []
    many = [node for node in ordered if node.kind in ("window", "release") and node.key not in starts]
    left_out = {node.key for node in sorted(many, key=_age)[:surplus]}
    return [node for node in ordered if node.key not in left_out], [f"{surplus} older windows and releases left out."]


def _age(node: Node) -> str:
    return node.id if node.kind == "window" else str(node.facts.get("since"))


class _Chain:
    """Collects nodes, each once; adding one adds those that it came from and those that came of it."""

    def __init__(self, records: Records, requests: dict[Key, FoundRequest]):
        self.records, self.model, self.requests = records, records.model, requests
        self.nodes: dict[Key, Node] = {}

    def add(self, key: Key) -> None:
        """Add the node with this key, its causes and its effects."""
        add: dict[Kind, Callable[[str], None]] = {
            "prediction": self._prediction,
            "release": self._release,
            "version": self._with_effects,
            "training": self._training,
            "snapshot": self._snapshot,
            "build": self._build,
            "commit": self._commit,
            "window": self._window_with_cause,
            "incident": self._incident,
        }
        add[key.kind](key.id)

    def _put(self, *nodes: Node) -> None:
        for node in nodes:
            self.nodes.setdefault(node.key, node)

    def _prediction(self, own_id: str) -> None:
        request = self.requests[Key("prediction", self.model, own_id)]
        grain = self.records.spec.monitoring.window
        windows = sorted({window_of(time, grain) for time in request.event_times})
        at = self.records.release_at(request.received)
        served_in = release_id("production", at.release.revision) if at else request.release
        repeats = [
            one.own_id
            for one in self.requests.values()
            if (one.request_id, one.keys) == (request.request_id, request.keys) and one is not request
        ]
        self._put(prediction_node(self.model, request, served_in, windows, repeats))
        for release in {served_in, request.release} - {""}:
            self._put(*(release_node(one) for one in self.records.releases if _id_of(one.release) == release))
        self._causes(request.version)
        for window in windows:
            self._window(window)

    def _release(self, name: str) -> None:
        for recorded in self.records.releases:
            if _id_of(recorded.release) == name:
                self._put(release_node(recorded))
                for version in recorded.release.weights:
                    self._causes(version)

    def _causes(self, number: str, *, predictions: bool = False) -> None:
        """The version, and what it came from."""
        records = self.records
        version = records.version(number)
        if version is None:
            facts = {"registered": "not in the registry (any more)"}
            self._put(Node("version", self.model, number, facts))
            return
        made = records.predictions.get(number, {}) if predictions else None
        self._put(version_node(self.model, version, records.promoted(number), made))
        lineage = version.lineage
        if lineage.run_id:
            self._put(training_node(self.model, version))
        if lineage.snapshot:
            self._snapshot_alone(lineage.snapshot, lineage.windows)
        if lineage.build:
            self._build_alone(lineage.build, lineage.commit)
        for incident in records.incidents:
            if incident.key == lineage.incident:
                self._put(incident_node(self.model, incident))
                self._window(incident.window)

    def _with_effects(self, number: str) -> None:
        """The version, what it came from, its releases, and the windows that have its predictions."""
        self._causes(number, predictions=True)
        self._put(*(release_node(one) for one in self.records.releases if number in one.release.weights))
        for window in self.records.predictions.get(number, {}):
            if window != UNGATHERED:
                self._window(window)

    def _training(self, run: str) -> None:
        made = [version.number for version in self.records.versions if version.lineage.run_id == run]
        for number in made:
            self._with_effects(number)
        for incident in self.records.incidents:
            if f"{INCIDENT_RUN}{incident.key}" == run and not made:
                self._put(training_without_version(self.model, incident), incident_node(self.model, incident))
                self._window(incident.window)

    def _snapshot(self, snapshot: str) -> None:
        for version in self.records.versions:
            if version.lineage.snapshot == snapshot:
                self._with_effects(version.number)
        self._snapshot_alone(snapshot, ())

    def _snapshot_alone(self, snapshot: str, windows: Sequence[str]) -> None:
        manifest = self.records.snapshot(snapshot)
        if manifest is None:
            self._put(*snapshot_nodes(self.model, snapshot, windows, None, None))
        else:
            hashes = {window: Path(path).stem for window, path in manifest.partitions.items()}
            self._put(*snapshot_nodes(self.model, snapshot, (), hashes, manifest.rows))

    def _build(self, build_id: str) -> None:
        commits = {one.lineage.build: one.lineage.commit for one in self.records.versions}
        self._build_alone(build_id, commits.get(build_id, ""))
        for version in self.records.versions:
            if version.lineage.build == build_id:
                self._with_effects(version.number)

    def _build_alone(self, build_id: str, commit: str) -> None:
        """The build and its commit; without its checks if the store does not have it (any more)."""
        recorded = [build for build in self.records.builds if build.build_id == build_id]
        for build in recorded or [Build(self.model, build_id, commit, "", "passed")]:
            self._put(build_node(build))
            self._commit_alone(build.commit)

    def _commit(self, commit: str) -> None:
        self._commit_alone(commit)
        builds = {build.build_id for build in self.records.builds if build.commit == commit}
        for build in sorted(
            builds | {one.lineage.build for one in self.records.versions if one.lineage.commit == commit}
        ):
            self._build(build)

    def _commit_alone(self, commit: str) -> None:
        builds = [build.build_id for build in self.records.builds if build.commit == commit]
        self._put(commit_node(self.model, commit, builds))

    def _window(self, window: str) -> None:
        """The window with its health, and the incident that it confirmed."""
        incident = next((one for one in self.records.incidents if one.window == window), None)
        self._put(window_node(self.model, window, self.records.health.get(window), incident))
        if incident:
            self._put(incident_node(self.model, incident))

    def _window_with_cause(self, window: str) -> None:
        self._window(window)
        health = self.records.health.get(window)
        for number in health.service.versions if health else ():
            self._causes(number)
        for incident in self.records.incidents:
            if incident.window == window:
                self._incident(incident.key)

    def _incident(self, key: str) -> None:
        for incident in self.records.incidents:
            if incident.key == key:
                self._put(incident_node(self.model, incident))
                self._window(incident.window)
                self._training(f"{INCIDENT_RUN}{key}")
        for version in self.records.versions:  # trainings for the incident that were started by hand
            if version.lineage.incident == key:
                self._with_effects(version.number)


def _id_of(release: Release) -> str:
    return release_id(release.environment, release.revision)
