"""Data sources: partitions of training data and ground truth, as files of any fsspec filesystem or SQL queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include.adapters.airflow_connections import require_connection, sql_engine
from include.core.errors import DataError
from include.core.health.data_quality import keys_as_text
from include.core.spec import FileSource, SqlSource
from include.core.windows import Grain, is_window, window_bounds

Source = FileSource | SqlSource

BATCH_ROWS = 50_000
"""How many rows of a partition are in memory at a time if only some are needed."""


def read_window(
    home: Path,
    source: Source,
    window: str,
    grain: Grain,
    columns: list[str] | None = None,
    optional: Sequence[str] = (),
) -> pd.DataFrame:
    """The rows of one window; relative paths in ``source`` are relative to ``home``.

    ``columns`` are needed, of ``optional`` those are read that exist; without ``columns``, all are read. Raises
    DataError when the partition is missing, empty, unreadable or lacks a column.
    """
    with _opened(home, source, window, grain) as opened:
        frame = opened.whole(columns, optional)
    if frame.empty:
        raise DataError(f"{_name(source, window)} has no rows. Load the window's data, then run again.")
    if columns is None:
        return frame
    return _with_columns(frame, [*columns, *(name for name in optional if name in frame.columns)], source, window)


def read_keys(
    home: Path, source: Source, window: str, grain: Grain, columns: list[str], key: str, keys: Set[str]
) -> pd.DataFrame:
    """The rows of one window whose ``key``, as text, is in ``keys``; other rows are not kept in memory.

    Raises DataError like :func:`read_window`, but not if there are no rows.
    """
    selected = []
    with _opened(home, source, window, grain) as opened:
        for batch in opened.batches(columns):
            rows = _with_columns(batch, columns, source, window)
            selected.append(rows[[text in keys for text in keys_as_text(rows[key])]])
    return pd.concat(selected, ignore_index=True) if selected else pd.DataFrame(columns=columns)


def window_exists(home: Path, source: Source, window: str, grain: Grain) -> bool:
    """Whether there is any data for the window."""
    if isinstance(source, SqlSource):
        with _query(source, window, grain) as result:
            return result.first() is not None
    filesystem, path = _locate(home, source, window)
    return bool(filesystem.exists(path))


def newest_window(home: Path, source: Source, window: str | None) -> str:
    """``window`` or, if None, the newest window that has a file."""
    if window:
        return window
    windows = known_windows(home, source)
    if not windows:
        raise DataError(
            f"{_name(source, '{window}')}: no partition exists yet. Load data, or choose the window to train up to."
        )
    return windows[-1]


def known_windows(home: Path, source: Source) -> list[str]:
    """All windows that have a file, oldest first. SQL sources can't be listed."""
    return list(partition_states(home, source))


def partition_states(home: Path, source: Source) -> dict[str, str]:
    """Each window that has a file, oldest first, with the file's metadata (size, time, and so on).

    Files that are not named for a window, such as temporary ones, are ignored. Raises DataError for SQL sources.
    """
    if isinstance(source, SqlSource):
        raise DataError("data from SQL can't be listed: set the newest window in the run's parameter 'window'.")
    filesystem, pattern = _locate(home, source, "*")
    before, _, after = pattern.partition("*")
    filesystem.invalidate_cache()  # listings of object storage are cached for the lifetime of the process
    filesystem.dircache.clear()  # for filesystems where the call above does nothing, such as HTTP
    files = filesystem.glob(pattern, detail=True)
    states = {path[len(before) : len(path) - len(after)]: str(about) for path, about in files.items()}
    return {window: states[window] for window in sorted(states) if is_window(window)}


class _Rows(Protocol):
    """An opened partition."""

    def whole(self, columns: list[str] | None, optional: Sequence[str], /) -> pd.DataFrame:
        """All rows; from a Parquet file only ``columns``, if it has all of them, and those of ``optional`` it has."""

    def batches(self, columns: list[str], /) -> Iterator[pd.DataFrame]:
        """At most BATCH_ROWS rows at a time."""


@dataclass(frozen=True)
class _ParquetRows:
    file: IO[bytes]

    def whole(self, columns: list[str] | None, optional: Sequence[str]) -> pd.DataFrame:
        opened = pq.ParquetFile(self.file)
        frame: pd.DataFrame = opened.read(columns=self._known(opened, columns, optional)).to_pandas()
        return frame

    def batches(self, columns: list[str]) -> Iterator[pd.DataFrame]:
        opened = pq.ParquetFile(self.file)
        for batch in opened.iter_batches(BATCH_ROWS, columns=self._known(opened, columns, ())):
            yield batch.to_pandas()

    @staticmethod
    def _known(opened: pq.ParquetFile, columns: list[str] | None, optional: Sequence[str]) -> list[str] | None:
        """What to read; None for all columns, as also when one is missing, so that the error lists what is there."""
        present = set(opened.schema_arrow.names)
        if columns is None or not set(columns) <= present:
            return None
        return [*columns, *(name for name in optional if name in present)]


@dataclass(frozen=True)
class _CsvRows:
    file: IO[bytes]
    compression: Literal["gzip"] | None

    def whole(self, _columns: list[str] | None, _optional: Sequence[str]) -> pd.DataFrame:
        return pd.read_csv(self.file, compression=self.compression)

    def batches(self, _columns: list[str]) -> Iterator[pd.DataFrame]:
        yield from pd.read_csv(self.file, compression=self.compression, chunksize=BATCH_ROWS)


@dataclass(frozen=True)
class _SqlRows:
    result: Any

    def whole(self, _columns: list[str] | None, _optional: Sequence[str]) -> pd.DataFrame:
        return self._frame(self.result.fetchall())

    def batches(self, _columns: list[str]) -> Iterator[pd.DataFrame]:
        yield from map(self._frame, self.result.partitions(BATCH_ROWS))

    def _frame(self, rows: Any) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=list(self.result.keys()))


def _with_columns(frame: pd.DataFrame, columns: list[str], source: Source, window: str) -> pd.DataFrame:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(
            f"{_name(source, window)} lacks the columns {', '.join(missing)} (present: "
            f"{', '.join(map(str, frame.columns))}). Add them, or correct model.yaml."
        )
    return frame[columns]


@contextmanager
def _opened(home: Path, source: Source, window: str, grain: Grain) -> Iterator[_Rows]:
    """Open a partition; errors while reading it become DataErrors."""
    if isinstance(source, SqlSource):
        with _query(source, window, grain) as result:
            yield _SqlRows(result)
        return
    filesystem, path = _locate(home, source, window)
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


def _locate(home: Path, source: FileSource, window: str) -> tuple[Any, str]:
    import fsspec

    path = source.path.replace("{window}", window)
    options = dict(require_connection(source.connection).extra_dejson)
    root = str(options.pop("path", ""))
    if "://" in path:
        url = path
    elif "://" in root:
        url = f"{root.rstrip('/')}/{path}"
    else:
        url = str(home / root / path)
        options = {}
    filesystem, located = fsspec.core.url_to_fs(url, **options)
    return filesystem, located


@contextmanager
def _query(source: SqlSource, window: str, grain: Grain) -> Iterator[Any]:
    import sqlalchemy as sa

    start, end = window_bounds(window, grain)
    with sql_engine(source.connection).connect() as connection:
        streaming = connection.execution_options(stream_results=True, max_row_buffer=BATCH_ROWS)
        with streaming.execute(sa.text(source.query), {"start": start, "end": end}) as result:
            yield result


def _name(source: Source, window: str) -> str:
    if isinstance(source, SqlSource):
        return f"window {window} of the query on '{source.connection}'"
    return f"partition {source.path.replace('{window}', window)} ({source.connection})"
