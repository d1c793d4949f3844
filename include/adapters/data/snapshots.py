"""Snapshots: immutable sets of partitions of training data.

A snapshot is content-addressed: each partition is stored once as ``lake/snapshots/objects/<sha256>.parquet`` and a
manifest lists them, so that the same data has the same hash and training data never changes later.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include.adapters.data.partitions import newest_window
from include.adapters.data.sources import read_window, window_exists
from include.adapters.files import write_atomically
from include.core.errors import DataError, NoRowsError
from include.core.spec import FeatureType, ModelSpec
from include.core.typed_columns import Kinds, kinds_of
from include.core.windows import window_bounds, windows_before
from include.settings import Settings

log = logging.getLogger(__name__)

EMPTY: dict[FeatureType, str] = {"integer": "float64", "number": "float64", "category": "str", "boolean": "boolean"}
"""Data type of a feature's column in a partition that lacks it."""


@dataclass(frozen=True)
class Snapshot:
    """An immutable set of partitions with a content hash."""

    model: str
    hash: str
    window: str
    """The newest window in the snapshot."""
    partitions: dict[str, str]
    """Window → path of its Parquet object, oldest first."""
    rows: int

    @property
    def paths(self) -> list[str]:
        """The paths of its Parquet objects, oldest window first."""
        return list(self.partitions.values())


def take_snapshot(
    settings: Settings, spec: ModelSpec, window: str | None, *, also: Kinds = MappingProxyType({})
) -> Snapshot:
    """Freeze the newest ``training.windows`` partitions up to ``window`` (default: the newest one).

    Older windows may be missing or empty (for young models); the newest one must have rows. A feature of which
    all values may be missing (``missing_at_most: 1``) may be missing as a column. ``also``: columns that are kept where
    they exist, for the version in production, which may have other features.
    """
    source, grain = spec.data.source, spec.monitoring.window
    newest = window or newest_window(settings.home, spec.data, grain)
    may_lack = [feature.name for feature in spec.features if feature.missing_at_most == 1]
    kinds = kinds_of(spec)
    needed = {name: kind for name, kind in kinds.items() if name not in may_lack}
    optional = {name: kind for name, kind in {**also, **kinds}.items() if name not in needed}
    partitions, rows = {}, 0
    for key in windows_before(newest, grain, spec.training.windows):
        if key != newest and not window_exists(settings.home, source, key, grain):
            continue
        try:
            frame = read_window(settings.home, source, key, grain, needed, optional)
        except NoRowsError as error:
            if key == newest:
                raise
            log.warning("%s: left out: %s", spec.name, error)
            continue
        for feature in spec.features:
            if feature.name not in frame.columns:
                frame[feature.name] = pd.Series(dtype=EMPTY[feature.type])
        _check_within_window(frame, spec, key)
        rows += len(frame)
        partitions[key] = str(_store_object(settings.lake, frame))
    content = hashlib.sha256("\n".join(f"{key} {Path(path).stem}" for key, path in partitions.items()).encode())
    snapshot = Snapshot(spec.name, content.hexdigest(), newest, partitions, rows)
    write_atomically(
        _manifest(settings.lake, spec.name, snapshot.hash), json.dumps(snapshot.__dict__, indent=1).encode()
    )
    return snapshot


def load_snapshot(lake: Path, model: str, snapshot_hash: str) -> Snapshot:
    """An existing snapshot, by its hash."""
    path = _manifest(lake, model, snapshot_hash)
    try:
        return Snapshot(**json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(
            f"{model}: snapshot {snapshot_hash[:12]} is not in the lake ({error}). Take it again."
        ) from error


def snapshot_hashes(lake: Path, model: str) -> list[str]:
    """The hashes of all snapshots of a model that are in the lake."""
    return sorted(path.stem for path in _manifest(lake, model, "*").parent.glob("*.json"))


def read_snapshot(snapshot: Snapshot) -> pd.DataFrame:
    """All rows of a snapshot."""
    return pd.concat([pd.read_parquet(path) for path in snapshot.paths], ignore_index=True)


def _store_object(lake: Path, frame: pd.DataFrame) -> Path:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata(None)  # the same rows give the same bytes
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    content = buffer.getvalue().to_pybytes()
    path = lake / "snapshots" / "objects" / f"{hashlib.sha256(content).hexdigest()}.parquet"
    if path.exists():
        os.utime(path)  # so that housekeeping knows that it is used
    else:
        write_atomically(path, content)
    return path


def _manifest(lake: Path, model: str, snapshot_hash: str) -> Path:
    return lake / "snapshots" / model / f"{snapshot_hash}.json"


def _check_within_window(frame: pd.DataFrame, spec: ModelSpec, window: str) -> None:
    column = spec.data.event_time
    start, end = window_bounds(window, spec.monitoring.window)
    outside = int(((frame[column] < start) | (frame[column] >= end)).sum())
    if outside:
        raise DataError(
            f"{spec.name}: {outside} rows of window {window} have '{column}' outside it. "
            "Put each row into the partition of its event time."
        )
