"""The nodes of a trace, from the records of builds, versions, releases, windows and incidents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from include.core.build import Build, Lineage
from include.core.health.record import HealthRow, Incident
from include.core.release.release import Environment, RecordedRelease
from include.core.trace import Edge, FoundRequest, Key, Kind, Node

SHOWN_ROWS = 20
"""Rows of a request whose key and prediction are shown."""
INCIDENT_RUN = "incident__"
"""What precedes an incident's key in the id of the training run that it starts."""


@dataclass(frozen=True)
class VersionRecord:
    """A registered version, with what the registry knows of it."""

    number: str
    lineage: Lineage
    created: float | None = None
    """Epoch seconds."""
    verdict: str = ""
    verdict_reason: str = ""
    sha256: str = ""
    registry_run: str = ""
    """Its run in MLflow."""
    images: tuple[str, ...] = ()


def moment(time: float | None) -> str | None:
    """Epoch seconds as ISO 8601 in UTC."""
    return None if time is None else datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")


def prediction_node(
    model: str, request: FoundRequest, served_in: str, windows: Sequence[str], repeats: Sequence[str]
) -> Node:
    """A request; ``served_in``: the release when it was answered; ``repeats``: ids of others that count as the same."""
    releases = {"served in": served_in, "server started in": request.release}
    edges = [Edge("predicted by", Key("version", model, request.version))]
    edges += [Edge(relation, Key("release", model, release)) for relation, release in releases.items() if release]
    edges += [Edge("counted in", Key("window", model, window)) for window in windows]
    facts = {
        "client's id": request.request_id,
        "server's id": request.server_request_id or None,
        "answered": moment(request.received),
        "rows": len(request.keys),
        "keys": tuple(request.keys[:SHOWN_ROWS]),
        "event times": tuple(time.isoformat() for time in request.event_times[:SHOWN_ROWS]),
        "predictions": tuple(f"{value:.6g}" for value in request.predictions[:SHOWN_ROWS]),
        "logged in": request.place,
        "gathered": request.gathered,
        "repeats": tuple(repeats),
    }
    return Node("prediction", model, request.own_id, facts, tuple(edges))


def release_id(environment: Environment, revision: int) -> str:
    """As in the prediction log: ``production@7``."""
    return f"{environment}@{revision}"


def release_node(recorded: RecordedRelease) -> Node:
    """A revision of what should serve."""
    release = recorded.release
    facts = {
        "since": moment(recorded.recorded),
        "weights": dict(release.weights),
        "standby": release.standby,
        "champion": release.champion,
        "note": release.note,
        "deployment run": release.rollout.run if release.rollout else None,
    }
    edges = [Edge("serves", Key("version", release.model, version)) for version in release.weights]
    return Node("release", release.model, release_id(release.environment, release.revision), facts, tuple(edges))


def version_node(
    model: str, version: VersionRecord, promoted: RecordedRelease | None, predictions: Mapping[str, int] | None
) -> Node:
    """A version; ``promoted``: the first release with it as champion; ``predictions``: window → how many it made."""
    lineage = version.lineage
    facts = {
        "registered": moment(version.created),
        "verdict": version.verdict or None,
        "verdict's reason": version.verdict_reason or None,
        "promoted": promoted is not None,
        "promoted in": release_id("production", promoted.release.revision) if promoted else None,
        "promoted at": moment(promoted.recorded) if promoted else None,
        "artifact's sha256": version.sha256 or None,
        "MLflow run": version.registry_run or None,
        "images": version.images,
        **({} if predictions is None else {"predictions": dict(predictions)}),
    }
    edges = [
        *([Edge("trained by", Key("training", model, lineage.run_id))] if lineage.run_id else []),
        *([Edge("trained in", Key("build", model, lineage.build))] if lineage.build else []),
        *(Edge("predicted in", Key("window", model, window)) for window in predictions or ()),
    ]
    return Node("version", model, version.number, facts, tuple(edges))


def training_node(model: str, version: VersionRecord) -> Node:
    """The run that made a version."""
    lineage = version.lineage
    causes: tuple[tuple[str, Kind, str | None], ...] = (
        ("read", "snapshot", lineage.snapshot),
        ("ran", "build", lineage.build),
        ("because of", "incident", lineage.incident),
    )
    edges = [Edge("made", Key("version", model, version.number))]
    edges += [Edge(relation, Key(kind, model, name)) for relation, kind, name in causes if name]
    facts = {
        "Dag": f"{model}.training",
        "reason": lineage.reason or None,
        "trained until": lineage.trained_until or None,
        "verdict": version.verdict or None,
    }
    return Node("training", model, lineage.run_id, facts, tuple(edges))


def training_without_version(model: str, incident: Incident) -> Node:
    """The run that an incident started, of which no version came."""
    facts = {"Dag": f"{model}.training", "version": "none: the run has not finished, or failed before registration"}
    return Node(
        "training",
        model,
        f"{INCIDENT_RUN}{incident.key}",
        facts,
        (Edge("because of", Key("incident", model, incident.key)),),
    )


def snapshot_nodes(
    model: str, snapshot_hash: str, windows: Sequence[str], hashes: Mapping[str, str] | None, rows: int | None
) -> list[Node]:
    """A snapshot with its partitions; ``hashes``: window → SHA-256 of the partition's file.

    Without them, only the windows are known, since its manifest was removed.
    """
    if hashes is None:
        parts = [Node("partition", model, window, {"window": window, "sha256": None}) for window in windows]
    else:
        parts = [
            Node("partition", model, sha256, {"window": window, "sha256": sha256}) for window, sha256 in hashes.items()
        ]
    facts = {"rows": rows, "in the lake": hashes is not None, "windows": tuple(hashes or windows)}
    edges = tuple(Edge("has", part.key) for part in parts)
    return [Node("snapshot", model, snapshot_hash, facts, edges), *parts]


def build_node(build: Build) -> Node:
    """A build with its checks."""
    checks = tuple(
        f"{name}: {report.get('answer')}, {report.get('reason', '')}".rstrip(", ")
        for name, report in build.report.items()
    )
    facts = {
        "status": build.status,
        "checks": checks,
        "environment": build.environment or None,
        "ci run": build.run_id or None,
    }
    return Node("build", build.model, build.build_id, facts, (Edge("of", Key("commit", build.model, build.commit)),))


def commit_node(model: str, commit: str, builds: Sequence[str]) -> Node:
    """A commit with its builds."""
    edges = tuple(Edge("built as", Key("build", model, build)) for build in builds)
    return Node("commit", model, commit, {"builds": len(builds)}, edges)


def window_node(model: str, window: str, health: HealthRow | None, incident: Incident | None) -> Node:
    """A window with its health, if it was measured."""
    edges = (Edge("opened", Key("incident", model, incident.key)),) if incident else ()
    if health is None:
        return Node("window", model, window, {"status": "not measured yet"}, edges)
    figure = health.live_figure(health.metric)
    reference = health.reference.get(health.metric)
    facts = {
        "status": health.status,
        "predictions": health.predictions,
        "with ground truth": health.rows,
        health.metric: figure.value if figure else None,
        f"{health.metric} on the holdout": reference,
        "live version": health.live_version,
        "drifted": health.drift.drifted,
        "findings": health.data_quality.findings,
        "problem": health.problem or None,
        "measured": moment(health.recorded),
        "monitoring run": health.run_id or None,
        "report": health.report or None,
    }
    return Node("window", model, window, facts, edges)


def incident_node(model: str, incident: Incident) -> Node:
    """An incident, with the window that confirmed it and the training that it started."""
    facts = {"opened": moment(incident.recorded), "reason": incident.verdict.reason}
    edges = (
        Edge("confirmed by", Key("window", model, incident.window)),
        Edge("started", Key("training", model, f"{INCIDENT_RUN}{incident.key}")),
    )
    return Node("incident", model, incident.key, facts, edges)
