"""What is still needed, and what is old enough to be removed. Pure functions of what exists."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from include.core.build import Build, Lineage
from include.core.health.record import HealthRow, Incident
from include.core.release.release import Release
from include.core.windows import grain_of, window_bounds

YOUNG = timedelta(days=7)
"""Nothing that was made or used within this time is removed: a run may be using it."""
DISK_ALERT, DISK_FULL = 0.85, 0.95
"""Shares of the disk from which there is an alert, and from which no training begins."""


@dataclass(frozen=True)
class Segment:
    """A file of the prediction log."""

    name: str
    bytes: int
    gathered: int
    """How many bytes of it are in the lake."""
    modified: datetime

    @property
    def writer(self) -> str:
        """``<version>-<revision>``: the server that writes it, which goes on in its newest file."""
        return self.name.rsplit("-", 2)[0]

    @property
    def version(self) -> str:
        """The version that it is the log of."""
        return self.name.partition("-")[0]


def kept_versions(
    newest_first: Sequence[str], releases: Iterable[Release], aliases: Iterable[str], count: int
) -> set[str]:
    """The newest versions, those that releases load or try, and those that have an alias."""
    kept = {*newest_first[:count], *aliases}
    for release in releases:
        kept |= release.loaded | {release.champion or ""}
        kept |= {release.rollout.candidate} if release.rollout else set()
    return kept - {""}


def kept_builds(lineages: Iterable[Lineage], builds: Sequence[Build]) -> set[str]:
    """The builds of kept versions, and the newest that passed (``builds``: newest first)."""
    passed = next((build.build_id for build in builds if build.status == "passed"), "")
    return {passed, *(lineage.build for lineage in lineages)} - {""}


def kept_windows(health: Sequence[HealthRow], incidents: Iterable[Incident], needed: int) -> set[str]:
    """The windows of incidents, and the newest ``needed`` measured ones (``health``: oldest first)."""
    newest = health[-needed:] if needed else []
    return {row.window for row in newest} | {incident.window for incident in incidents}


def old_windows(names: Iterable[str], kept: Collection[str], now: datetime, days: int) -> list[str]:
    """The windows that ended more than so many days ago (``now``: naive UTC), except the kept ones."""
    limit = now - timedelta(days=days)
    return [name for name in names if name not in kept and window_bounds(name, grain_of(name))[1] <= limit]


def old_segments(segments: Sequence[Segment], loaded: Collection[str], now: datetime, days: int) -> list[Segment]:
    """Files of the prediction log that are wholly in the lake and were not written to for so many days.

    A loaded version's server may still append to its newest file, however long ago it last did.
    """
    newest: Mapping[str, str] = {segment.writer: segment.name for segment in sorted(segments, key=_started)}
    return [
        segment
        for segment in segments
        if segment.gathered >= segment.bytes
        and now - segment.modified > timedelta(days=days)
        and not (segment.version in loaded and newest[segment.writer] == segment.name)
    ]


def _started(segment: Segment) -> int:
    """When the file was begun, in nanoseconds: the part of its name before the process id."""
    part = segment.name.rsplit("-", 2)[-2:][0]
    return int(part) if part.isdigit() else 0
