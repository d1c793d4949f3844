"""Finds out what an id is: a version, release, build, commit, snapshot, environment, image, incident, run or window."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from include.core.trace import Key, Kind
from include.core.trace_nodes import INCIDENT_RUN, release_id
from include.stages.trace_records import Records

DIGITS = re.compile(r"[0-9a-f]{7,64}")
"""A hash, or the beginning of one."""
SEARCHED = (
    "requests (the client's and the server's ids)",
    "versions",
    "releases",
    "builds",
    "environments and images",
    "commits",
    "snapshots",
    "windows",
    "incidents",
    "Dag runs",
)


@dataclass(frozen=True)
class Match:
    """One thing that an id can mean, and the nodes that it leads to."""

    model: str
    meaning: str
    keys: tuple[Key, ...]
    shared: str = ""
    """What several models can have in common: a commit of their repository, or an environment."""

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells it from what else the id can mean."""
        return (self.meaning, self.shared) if self.shared else (self.meaning, self.keys)

    def __str__(self) -> str:
        shown = ", ".join(key.id for key in self.keys[:3])
        return f"{self.model}: {self.meaning} {shown}" + (", ..." if len(self.keys) > 3 else "")


def matches(records: Records, wanted: str) -> list[Match]:
    """All that ``wanted`` can mean among the records of a model, without its requests."""
    return [
        *_versions(records, wanted),
        *_releases(records, wanted),
        *_builds(records, wanted),
        *_hashes(records, wanted.removeprefix("sha256:").lower()),
        *_images(records, wanted),
        *_incidents(records, wanted),
        *_runs(records, wanted),
    ]


def _versions(records: Records, wanted: str) -> Iterator[Match]:
    if any(version.number == wanted for version in records.versions):
        yield _match(records, "version", "version", wanted)
    if wanted in records.health:
        yield _match(records, "window", "window", wanted)


def _releases(records: Records, wanted: str) -> Iterator[Match]:
    known = {release_id(one.release.environment, one.release.revision) for one in records.releases}
    if wanted in known:
        yield _match(records, "release", "release", wanted)


def _builds(records: Records, wanted: str) -> Iterator[Match]:
    of_versions = {version.lineage.build for version in records.versions}  # also of builds that the store lost
    if wanted and wanted in {*(build.build_id for build in records.builds), *of_versions}:
        yield _match(records, "build", "build", wanted)


def _hashes(records: Records, wanted: str) -> Iterator[Match]:
    """Commits, snapshots and environments by their hash or its beginning."""
    if not DIGITS.fullmatch(wanted):
        return
    commits = {*(build.commit for build in records.builds), *(one.lineage.commit for one in records.versions)}
    for commit in sorted(commit for commit in commits if commit.startswith(wanted)):
        yield _match(records, "commit", "commit", commit, shared=commit)
    snapshots = {*records.snapshots, *(version.lineage.snapshot for version in records.versions)}
    for snapshot in sorted(snapshot for snapshot in snapshots if snapshot.startswith(wanted)):
        yield _match(records, "snapshot", "snapshot", snapshot)
    environments: dict[str, list[str]] = {}
    for build in records.builds:
        if _bare_digest(build.environment).startswith(wanted):
            environments.setdefault(build.environment, []).append(build.build_id)
    for environment, builds in environments.items():
        yield _match(records, "the environment of build", "build", *builds, shared=environment)


def _images(records: Records, wanted: str) -> Iterator[Match]:
    """The images of releases, by their full name or digest."""
    versions = [
        version.number
        for version in records.versions
        if any(wanted in (image, _bare_digest(image), f"sha256:{_bare_digest(image)}") for image in version.images)
    ]
    if versions:
        yield _match(records, "the image of version", "version", *versions)


def _incidents(records: Records, wanted: str) -> Iterator[Match]:
    if any(incident.key == wanted for incident in records.incidents):
        yield _match(records, "incident", "incident", wanted)


def _runs(records: Records, wanted: str) -> Iterator[Match]:
    model = records.model
    if builds := [build.build_id for build in records.builds if build.run_id == wanted]:
        yield _match(records, f"the run of {model}.ci that made build", "build", *builds)
    started = {f"{INCIDENT_RUN}{incident.key}" for incident in records.incidents}
    if wanted in {*(version.lineage.run_id for version in records.versions), *started} - {""}:
        yield _match(records, f"the run of {model}.training", "training", wanted)
    releases = []
    for before, after in zip([None, *records.releases], records.releases, strict=False):
        ended = before and before.release.rollout if before and after.release.rollout is None else None
        owner = after.release.rollout or ended
        if (owner and owner.is_of(wanted)) or after.release.note.endswith(f" in {wanted}"):
            releases.append(release_id(after.release.environment, after.release.revision))
    if releases:
        yield _match(records, f"the run of {model}.deployment that made release", "release", *releases)
    if windows := [row.window for row in records.health.values() if row.run_id == wanted]:
        yield _match(records, f"the run of {model}.monitoring that measured window", "window", *windows)


def _match(records: Records, meaning: str, kind: Kind, *ids: str, shared: str = "") -> Match:
    return Match(records.model, meaning, tuple(Key(kind, records.model, name) for name in ids), shared)


def _bare_digest(environment: str) -> str:
    """The hexadecimal digits at the end of a hash, an image's id, or ``name@sha256:...``."""
    return environment.rpartition(":")[2].lower()
