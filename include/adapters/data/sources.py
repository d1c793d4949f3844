"""Data: partitions of training data and truth (files or SQL), and snapshots of them.

A snapshot is content-addressed: each partition is kept once as ``lake/snapshots/objects/<sha256>.parquet`` and a
manifest lists them, so that the same data has the same hash and nothing that a model was trained on changes later.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include.core.errors import DataError, PlatformError
from include.core.health.data_quality import keys_as_text
from include.core.spec import FileSource, ModelSpec, SqlSource
from include.core.windows import Grain, is_window, window_bounds, windows_before
from include.settings import settings

Source = FileSource | SqlSource

BATCH_ROWS = 50_000
"""So many rows of a partition are held at a time where only some of them are wanted."""


@dataclass(frozen=True)
class Snapshot:
    """An immutable set of partitions with a content hash."""

    model: str
    hash: str
    window: str
    """Newest window in it."""
    partitions: dict[str, str]
    """Window → path of its Parquet object, oldest first."""
    rows: int

    @property
    def paths(self) -> list[str]:
        return list(self.partitions.values())


def read_window(source: Source, window: str, grain: Grain, columns: list[str] | None = None) -> pd.DataFrame:
    """The rows of one window.

    Raises DataError when the partition is missing, empty, unreadable or lacks a column.
    """
    with _opened(source, window, grain) as opened:
        frame = opened.whole(columns)
    if frame.empty:
        raise DataError(f"{_name(source, window)} has no rows. Load the window's data, then run again.")
    return frame if columns is None else _with_columns(frame, columns, source, window)


def read_keys(source: Source, window: str, grain: Grain, columns: list[str], key: str, keys: Set[str]) -> pd.DataFrame:
    """The rows of one window whose ``key``, as text, is among ``keys``; no other rows are held in memory.

    Raises DataError as :func:`read_window` does, but not where there is no row.
    """
    found = []
    with _opened(source, window, grain) as opened:
        for batch in opened.batches(columns):
            rows = _with_columns(batch, columns, source, window)
            found.append(rows[[text in keys for text in keys_as_text(rows[key])]])
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def window_exists(source: Source, window: str, grain: Grain) -> bool:
    """Whether there is anything to read for the window."""
    if isinstance(source, SqlSource):
        with _query(source, window, grain) as result:
            return result.first() is not None
    filesystem, path = _locate(source, window)
    return bool(filesystem.exists(path))


def newest_window(source: Source, window: str | None, grain: Grain) -> str:
    """``window``, or the newest one for which files exist when it is None."""
    if window:
        return window
    windows = known_windows(source)
    if not windows:
        raise DataError(
            f"{_name(source, '{window}')}: no partition exists yet. Load data, or name the window to train up to."
        )
    return windows[-1]


def known_windows(source: Source) -> list[str]:
    """All windows that have a file, oldest first. SQL sources can't be listed."""
    return list(partition_states(source))


def partition_states(source: Source) -> dict[str, str]:
    """Each window that has a file, oldest first, and what the file system says of the file (size, time, and so on).

    Files whose name is not that of a window, such as temporary ones, are left out. Raises DataError for SQL sources.
    """
    if isinstance(source, SqlSource):
        raise DataError("data from SQL can't be listed: name the newest window in the run's 'window' parameter.")
    filesystem, pattern = _locate(source, "*")
    before, _, after = pattern.partition("*")
    filesystem.invalidate_cache()  # listings of object storage are kept for as long as the process runs
    filesystem.dircache.clear()  # where the former does nothing, such as HTTP
    files = filesystem.glob(pattern, detail=True)
    states = {path[len(before) : len(path) - len(after)]: str(about) for path, about in files.items()}
    return {window: states[window] for window in sorted(states) if is_window(window)}


def take_snapshot(spec: ModelSpec, window: str | None) -> Snapshot:
    """Freeze the newest ``training.windows`` partitions up to ``window`` (default: the newest there is).

    Older windows may be missing (the model is young); the newest one must exist.
    """
    source, grain = spec.data.source, spec.monitoring.window
    newest = newest_window(source, window, grain)
    columns = [spec.data.key, spec.data.event_time, *spec.feature_names, spec.target]
    columns = list(dict.fromkeys(columns))
    partitions, rows = {}, 0
    for key in windows_before(newest, grain, spec.training.windows):
        if key != newest and not window_exists(source, key, grain):
            continue
        frame = read_window(source, key, grain, columns)
        _check_within_window(frame, spec, key)
        rows += len(frame)
        partitions[key] = str(_keep_object(frame))
    content = hashlib.sha256("\n".join(f"{key} {Path(path).stem}" for key, path in partitions.items()).encode())
    snapshot = Snapshot(spec.name, content.hexdigest(), newest, partitions, rows)
    folder = settings().lake / "snapshots" / spec.name
    write_atomically(folder / f"{snapshot.hash}.json", json.dumps(snapshot.__dict__, indent=1).encode())
    return snapshot


def load_snapshot(model: str, snapshot_hash: str) -> Snapshot:
    """A snapshot taken before, by its hash."""
    path = settings().lake / "snapshots" / model / f"{snapshot_hash}.json"
    try:
        return Snapshot(**json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(
            f"{model}: snapshot {snapshot_hash[:12]} is not in the lake ({error}). Take it again."
        ) from error


def read_snapshot(snapshot: Snapshot) -> pd.DataFrame:
    """All rows of a snapshot."""
    return pd.concat([pd.read_parquet(path) for path in snapshot.paths], ignore_index=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _keep_object(frame: pd.DataFrame) -> Path:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata(None)  # the same rows give the same bytes
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    content = buffer.getvalue().to_pybytes()
    path = settings().lake / "snapshots" / "objects" / f"{hashlib.sha256(content).hexdigest()}.parquet"
    if not path.exists():
        write_atomically(path, content)
    return path


def _check_within_window(frame: pd.DataFrame, spec: ModelSpec, window: str) -> None:
    column = spec.data.event_time
    start, end = window_bounds(window, spec.monitoring.window)
    try:
        times = pd.to_datetime(frame[column])
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{spec.name}: column '{column}' of window {window} is not a time ({error}). Correct the partition."
        ) from error
    if getattr(times.dt, "tz", None) is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    outside = int(((times < start) | (times >= end)).sum())
    if outside:
        raise DataError(
            f"{spec.name}: {outside} rows of window {window} have '{column}' outside of it. "
            "Put each row into the partition of its own time."
        )
    frame[column] = times


class _Rows(Protocol):
    """An opened partition."""

    def whole(self, columns: list[str] | None) -> pd.DataFrame:
        """All rows; of a Parquet file only ``columns``, where it has all of them."""

    def batches(self, columns: list[str]) -> Iterator[pd.DataFrame]:
        """At most BATCH_ROWS rows at a time."""


@dataclass(frozen=True)
class _ParquetRows:
    file: IO[bytes]

    def whole(self, columns: list[str] | None) -> pd.DataFrame:
        opened = pq.ParquetFile(self.file)
        return opened.read(columns=self._known(opened, columns)).to_pandas()

    def batches(self, columns: list[str]) -> Iterator[pd.DataFrame]:
        opened = pq.ParquetFile(self.file)
        for batch in opened.iter_batches(BATCH_ROWS, columns=self._known(opened, columns)):
            yield batch.to_pandas()

    @staticmethod
    def _known(opened: pq.ParquetFile, columns: list[str] | None) -> list[str] | None:
        return columns if columns is None or set(columns) <= set(opened.schema_arrow.names) else None


@dataclass(frozen=True)
class _CsvRows:
    file: IO[bytes]
    compression: Literal["gzip"] | None

    def whole(self, columns: list[str] | None) -> pd.DataFrame:
        return pd.read_csv(self.file, compression=self.compression)

    def batches(self, columns: list[str]) -> Iterator[pd.DataFrame]:
        yield from pd.read_csv(self.file, compression=self.compression, chunksize=BATCH_ROWS)


@dataclass(frozen=True)
class _SqlRows:
    result: Any

    def whole(self, columns: list[str] | None) -> pd.DataFrame:
        return self._frame(self.result.fetchall())

    def batches(self, columns: list[str]) -> Iterator[pd.DataFrame]:
        yield from map(self._frame, self.result.partitions(BATCH_ROWS))

    def _frame(self, rows: Any) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=list(self.result.keys()))


def _with_columns(frame: pd.DataFrame, columns: list[str], source: Source, window: str) -> pd.DataFrame:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(
            f"{_name(source, window)} lacks the column(s) {', '.join(missing)} (found: "
            f"{', '.join(map(str, frame.columns))}). Add them there, or correct model.yaml."
        )
    return frame[columns]


@contextmanager
def _opened(source: Source, window: str, grain: Grain) -> Iterator[_Rows]:
    """The partition, open; what can't be read inside is a DataError."""
    if isinstance(source, SqlSource):
        with _query(source, window, grain) as result:
            yield _SqlRows(result)
        return
    filesystem, path = _locate(source, window)
    try:
        with filesystem.open(path, "rb") as file:
            zipped: Literal["gzip"] | None = "gzip" if path.endswith(".gz") else None
            yield _ParquetRows(file) if path.endswith(".parquet") else _CsvRows(file, zipped)
    except FileNotFoundError:
        raise DataError(
            f"{_name(source, window)} does not exist. Load this window, or train up to an earlier one."
        ) from None
    except (pa.ArrowInvalid, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{_name(source, window)} can't be read: {error}. Write the file again.") from error


def _locate(source: FileSource, window: str) -> tuple[Any, str]:
    import fsspec

    path, options = source.path.replace("{window}", window), dict[str, Any]()
    root = ""
    connection = _connection(source.connection)
    if connection is not None:
        options = dict(connection.extra_dejson)
        root = str(options.pop("path", ""))
    if "://" in path:
        url = path
    elif "://" in root:
        url = f"{root.rstrip('/')}/{path}"
    else:
        url = str(settings().home / root / path)
        options = {}
    filesystem, located = fsspec.core.url_to_fs(url, **options)
    return filesystem, located


def _connection(name: str) -> Any:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    try:
        return BaseHook.get_connection(name)
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        raise PlatformError(
            f"Airflow has no connection '{name}'. Add it to airflow_settings.yaml and run 'make up'."
        ) from error


@contextmanager
def _query(source: SqlSource, window: str, grain: Grain) -> Iterator[Any]:
    import sqlalchemy as sa
    from airflow.sdk.exceptions import AirflowException

    start, end = window_bounds(window, grain)
    try:
        hook = _connection(source.connection).get_hook()
    except AirflowException as error:
        raise DataError(
            f"connection '{source.connection}' can't be used: {error}. Install the Airflow provider of its type, or "
            "correct the type in airflow_settings.yaml."
        ) from error
    with hook.get_sqlalchemy_engine().connect() as connection:
        streaming = connection.execution_options(stream_results=True, max_row_buffer=BATCH_ROWS)
        with streaming.execute(sa.text(source.query), {"start": start, "end": end}) as result:
            yield result


def _name(source: Source, window: str) -> str:
    if isinstance(source, SqlSource):
        return f"window {window} of the query on '{source.connection}'"
    return f"partition {source.path.replace('{window}', window)} ({source.connection})"
