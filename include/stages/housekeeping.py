"""Removes what is old and no longer needed, and says what it freed. The rules are in :mod:`include.core.retention`.

A model whose registry or releases can't be read keeps everything, and so does what models share.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from include.adapters.data.predictions import predictions_folder
from include.adapters.data.snapshots import load_snapshot
from include.adapters.removal import remove, remove_leftovers, size, used_since
from include.core.build import Lineage
from include.core.json_types import JsonObject
from include.core.retention import (
    YOUNG,
    Segment,
    kept_builds,
    kept_versions,
    kept_windows,
    old_segments,
    old_windows,
)
from include.core.spec import ModelSpec
from include.core.windows import is_window
from include.settings import Settings
from include.stages.choices import ALL_PARTS, renew_choices
from include.stages.installation import Installation

log = logging.getLogger(__name__)

Kind = Literal[
    "prediction log",
    "predictions",
    "report",
    "candidate",
    "build",
    "environment",
    "snapshot",
    "local copy",
    "temporary files",
]
DAY = 86400.0
COPIES = ("champion", "challenger")
"""The aliases whose versions are kept."""


@dataclass(frozen=True)
class Removal:
    """Something that is no longer needed."""

    kind: Kind
    path: Path
    bytes: int


@dataclass(frozen=True)
class Needed:
    """What one model still needs."""

    versions: frozenset[str]
    builds: frozenset[str]
    snapshots: frozenset[str]


@dataclass(frozen=True)
class CleanUp:
    """The result of one run."""

    removals: list[Removal]
    skipped: dict[str, str]
    """Model → why nothing of it was removed."""

    def summary(self) -> JsonObject:
        """Kind → number and bytes, and what was skipped."""
        kinds = sorted({removal.kind for removal in self.removals})
        by_kind = {kind: [one.bytes for one in self.removals if one.kind == kind] for kind in kinds}
        freed = {kind: {"removed": len(sizes), "bytes": sum(sizes)} for kind, sizes in by_kind.items()}
        return {"bytes": sum(one.bytes for one in self.removals), "kinds": freed, "skipped": self.skipped}


def clean_up(
    installation: Installation, specs: Sequence[ModelSpec], now: datetime, *, dry_run: bool, complete: bool = True
) -> CleanUp:
    """Remove what no model needs any more; with ``dry_run``, only say what that would be (``now``: naive UTC).

    ``complete``: whether ``specs`` are those of all models; otherwise nothing is removed that models share.
    """
    removals: list[Removal] = []
    skipped: dict[str, str] = {}
    for spec in specs:
        try:
            paths = list(_of_model(installation, spec, _needed(installation, spec), now))
        except Exception as error:  # whatever registry, store or files raise: nothing of the model is removed
            skipped[spec.name] = str(error)
            log.warning("%s: nothing is removed: %s", spec.name, error)
        else:
            removals += _carry_out(paths, dry_run)
        if not dry_run:
            renew_choices(installation, spec.name, *ALL_PARTS)
    if complete and not skipped:
        removed = {removal.path for removal in removals}
        removals += _carry_out(list(_shared(installation.settings, removed, now)), dry_run)
    return CleanUp(removals, skipped)


def _needed(installation: Installation, spec: ModelSpec) -> Needed:
    store, registry = installation.store, installation.registry
    releases = [store.release(spec.name, environment) for environment in ("production", "test")]
    registered = [str(version.version) for version in registry.versions(spec.name)]
    aliases = [version for version in (registry.alias(spec.name, name) for name in COPIES) if version]
    versions = kept_versions(registered, releases, aliases, spec.retention.versions)
    lineages: list[Lineage] = [registry.lineage(spec.name, version) for version in versions if version in registered]
    return Needed(
        frozenset(versions),
        frozenset(kept_builds(lineages, store.builds(spec.name))),
        frozenset(lineage.snapshot for lineage in lineages),
    )


def _of_model(
    installation: Installation, spec: ModelSpec, needed: Needed, now: datetime
) -> Iterator[tuple[Kind, Path]]:
    yield from _of_versions(installation.settings, spec, needed, now)
    yield from _of_log(installation, spec, now)
    yield from _of_windows(installation, spec, now)


def _of_versions(settings: Settings, spec: ModelSpec, needed: Needed, now: datetime) -> Iterator[tuple[Kind, Path]]:
    """What versions were made of, and copies of them."""
    places: tuple[tuple[Kind, Path, frozenset[str]], ...] = (
        ("candidate", settings.candidates, frozenset()),
        ("build", settings.builds, needed.builds),
        ("local copy", settings.artifacts, needed.versions),
        ("snapshot", settings.lake / "snapshots", needed.snapshots),
    )
    for kind, folder, kept in places:
        for path in _old(folder / spec.name, now):
            if path.name.removesuffix(".json") not in kept:
                yield kind, path


def _of_log(installation: Installation, spec: ModelSpec, now: datetime) -> Iterator[tuple[Kind, Path]]:
    folder = installation.settings.prediction_log / spec.name
    loaded = installation.store.release(spec.name, "production").loaded
    segments = _segments(installation, spec.name, folder)
    for segment in old_segments(segments, loaded, now, spec.retention.log_days):
        yield "prediction log", folder / f"{segment.name}.jsonl"


def _of_windows(installation: Installation, spec: ModelSpec, now: datetime) -> Iterator[tuple[Kind, Path]]:
    settings, store, days = installation.settings, installation.store, spec.retention.window_days
    judged = spec.degradation.windows + spec.degradation.budget_windows
    kept = kept_windows(store.health(spec.name), store.incidents(spec.name), judged)
    folder, reports = predictions_folder(spec.name, settings.lake), settings.reports / spec.name
    for name in old_windows(_windows_in(folder), kept, now, days):
        # Event times may be of long ago: what was gathered lately stays, however old its window is.
        if all(used_since(path, now) > days * DAY for path in (folder / name, *(folder / name).glob("*"))):
            yield "predictions", folder / name
    for name in old_windows(_windows_in(reports), kept, now, days):
        for path in sorted(reports.glob(f"{name}.*")):
            if used_since(path, now) > days * DAY:
                yield "report", path


def _shared(settings: Settings, removed: Collection[Path], now: datetime) -> Iterator[tuple[Kind, Path]]:
    """What several models may use. Whatever lies there of a model without model.yaml counts as needed."""
    builds = [path for path in settings.builds.glob("*/*/environment") if path.parent not in removed]
    linked = {path.resolve().name for path in builds}
    for path in _old(settings.environments, now):
        if path.name not in linked and (path / "requirements.lock").exists():
            yield "environment", path
    snapshots = settings.lake / "snapshots"
    used: set[str] = set()
    for manifest in set(snapshots.glob("*/*.json")) - set(removed):
        snapshot = load_snapshot(settings.lake, manifest.parent.name, manifest.stem)
        used |= {Path(path).name for path in snapshot.paths}
    for path in _old(snapshots / "objects", now):
        if path.name not in used:
            yield "snapshot", path
    for path in _old(settings.scratch, now):
        if path.name.startswith("job-"):
            yield "temporary files", path


def _carry_out(paths: Iterable[tuple[Kind, Path]], dry_run: bool) -> list[Removal]:
    removals = []
    for kind, path in paths:
        removals.append(Removal(kind, path, size(path)))
        log.info("%s %s: %s (%.1f MB)", "would remove" if dry_run else "removed", kind, path, removals[-1].bytes / 1e6)
        if not dry_run:
            remove(path)
    return removals


def _old(folder: Path, now: datetime) -> list[Path]:
    """What lies in the folder and has not been used lately."""
    remove_leftovers(folder)
    return [
        path
        for path in sorted(folder.glob("*"))
        if not path.name.startswith(".") and used_since(path, now) > YOUNG.total_seconds()
    ]


def _segments(installation: Installation, model: str, folder: Path) -> list[Segment]:
    segments = []
    for path in sorted(folder.glob("*.jsonl")):
        if path.is_file() and not path.is_symlink():
            found = path.stat()
            modified = datetime.fromtimestamp(found.st_mtime, UTC).replace(tzinfo=None)
            position = installation.store.log_position(model, path.name)
            segments.append(Segment(path.stem, found.st_size, position, modified))
    return segments


def _windows_in(folder: Path) -> list[str]:
    """The windows that files or folders are named for."""
    return sorted({path.name.partition(".")[0] for path in folder.glob("*") if is_window(path.name.partition(".")[0])})
