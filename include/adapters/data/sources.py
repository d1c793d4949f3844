"""Data sources: partitions of training data and ground truth, as files of any fsspec filesystem or SQL queries."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Protocol, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from include.adapters.airflow_connections import require_connection, sql_engine
from include.core.errors import DataError, NoRowsError, PlatformError
from include.core.spec import FileSource, SqlSource
from include.core.typed_columns import Kinds, typed_columns
from include.core.windows import Grain, window_bounds

Source = FileSource | SqlSource

BATCH_ROWS = 50_000
"""How many rows of a partition are in memory at a time if only some are needed."""


def read_window(
    home: Path, source: Source, window: str, grain: Grain, kinds: Kinds, optional: Kinds = MappingProxyType({})
) -> pd.DataFrame:
    """The rows of one window, each column as its kind; relative paths in ``source`` are relative to ``home``.

    The columns in ``kinds`` are needed; of ``optional``, those are read that exist. Raises DataError when the partition
    is missing, empty (NoRowsError) or unreadable, when it lacks a column, and when a value is not of its kind.
    """
    with _opened(home, source, window, grain) as opened:
        frame = opened.whole(list(kinds), list(optional))
    if frame.empty:
        raise NoRowsError(f"{source_name(source, window)} has no rows. Load the window's data, then run again.")
    present = {name: kind for name, kind in optional.items() if name in frame.columns}
    return _typed(frame, {**kinds, **present}, source, window)


def read_keys(
    home: Path, source: Source, window: str, grain: Grain, kinds: Kinds, key: str, keys: Set[str]
) -> pd.DataFrame:
    """The rows of one window whose ``key`` is in ``keys``; other rows are not kept in memory.

    Raises DataError like :func:`read_window`, but not if there are no rows.
    """
    selected = []
    with _opened(home, source, window, grain) as opened:
        for batch in opened.batches(list(kinds)):
            rows = _typed(batch, kinds, source, window)
            selected.append(rows[rows[key].isin(keys)])
    return pd.concat(selected, ignore_index=True) if selected else pd.DataFrame(columns=list(kinds))


def window_exists(home: Path, source: Source, window: str, grain: Grain) -> bool:
    """Whether there is any data for the window."""
    if isinstance(source, SqlSource):
        with _query(source, window, grain) as result:
            return result.first() is not None
    filesystem, path = locate(home, source, window)
    return bool(filesystem.exists(path))


class _Rows(Protocol):
    """An opened partition."""

    def whole(self, columns: list[str], optional: list[str], /) -> pd.DataFrame:
        """All rows, of at least ``columns`` and those of ``optional`` that exist; of all columns if one is missing."""

    def batches(self, columns: list[str], /) -> Iterator[pd.DataFrame]:
        """At most BATCH_ROWS rows at a time."""


@dataclass(frozen=True)
class _ParquetRows:
    file: IO[bytes]

    def whole(self, columns: list[str], optional: list[str]) -> pd.DataFrame:
        opened = pq.ParquetFile(self.file)
        return self._frame(opened.read(columns=self._known(opened, columns, optional)))

    def batches(self, columns: list[str]) -> Iterator[pd.DataFrame]:
        opened = pq.ParquetFile(self.file)
        yield from map(self._frame, opened.iter_batches(BATCH_ROWS, columns=self._known(opened, columns, [])))

    @staticmethod
    def _known(opened: pq.ParquetFile, columns: list[str], optional: list[str]) -> list[str] | None:
        present = set(opened.schema_arrow.names)
        return [*columns, *(name for name in optional if name in present)] if set(columns) <= present else None

    @staticmethod
    def _frame(rows: pa.Table | pa.RecordBatch) -> pd.DataFrame:
        # Otherwise, integers beside a missing one become floats, which changes keys of 16 digits and more.
        frame: pd.DataFrame = rows.to_pandas(integer_object_nulls=True)
        return frame


@dataclass(frozen=True)
class _CsvRows:
    """All columns are text: the spec says what they are. Rows with too many or too few fields are errors."""

    file: IO[bytes]
    source: FileSource

    def whole(self, _columns: list[str], _optional: list[str]) -> pd.DataFrame:
        frame: pd.DataFrame = self._open().read_all().to_pandas()
        return frame

    def batches(self, _columns: list[str]) -> Iterator[pd.DataFrame]:
        for block in self._open():
            for start in range(0, block.num_rows, BATCH_ROWS):
                yield block.slice(start, BATCH_ROWS).to_pandas()

    def _open(self) -> csv.CSVStreamingReader:
        return self._reader(dict.fromkeys(self._reader({}).schema.names, pa.string()))

    def _reader(self, types: dict[str, pa.DataType]) -> csv.CSVStreamingReader:
        self.file.seek(0)
        return csv.open_csv(
            pa.PythonFile(self.file, "r"),
            read_options=csv.ReadOptions(encoding=self.source.encoding),
            parse_options=csv.ParseOptions(delimiter=self.source.delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=types, null_values=["", *self.source.na_values], strings_can_be_null=True
            ),
        )


@dataclass(frozen=True)
class _SqlRows:
    result: Any

    def whole(self, _columns: list[str], _optional: list[str]) -> pd.DataFrame:
        return self._frame(self.result.fetchall())

    def batches(self, _columns: list[str]) -> Iterator[pd.DataFrame]:
        yield from map(self._frame, self.result.partitions(BATCH_ROWS))

    def _frame(self, rows: Any) -> pd.DataFrame:
        # As Python's objects: pandas would make floats of integers beside a null.
        return pd.DataFrame(rows, columns=list(self.result.keys()), dtype="object")


def _typed(frame: pd.DataFrame, kinds: Kinds, source: Source, window: str) -> pd.DataFrame:
    place = source_name(source, window)
    missing = [column for column in kinds if column not in frame.columns]
    if missing:
        raise DataError(
            f"{place} lacks the columns {', '.join(missing)} (present: {', '.join(map(str, frame.columns))}). "
            "Add them, or correct model.yaml."
        )
    return typed_columns(frame, kinds, place, text=isinstance(source, FileSource) and ".csv" in source.path)


@contextmanager
def _opened(home: Path, source: Source, window: str, grain: Grain) -> Iterator[_Rows]:
    """Open a partition; errors while reading it become DataErrors, or PlatformErrors where a retry may help."""
    if isinstance(source, SqlSource):
        with _query(source, window, grain) as result:
            yield _SqlRows(result)
        return
    filesystem, path = locate(home, source, window)
    try:
        with filesystem.open(path, "rb") as file:
            if path.endswith(".parquet"):
                yield _ParquetRows(file)
            else:
                yield _CsvRows(cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if path.endswith(".gz") else file, source)
    except FileNotFoundError:
        raise DataError(
            f"{source_name(source, window)} does not exist. Load this window, or train up to an earlier one."
        ) from None
    except (ConnectionError, TimeoutError) as error:
        raise PlatformError(f"{source_name(source, window)} can't be reached: {error}. Run again later.") from error
    except UNREADABLE as error:
        reason = f"{type(error).__name__}: {error}".rstrip(".")
        raise DataError(f"{source_name(source, window)} can't be read ({reason}). Write the file again.") from error


UNREADABLE = (pa.ArrowException, UnicodeError, EOFError, zlib.error, OSError)
"""What the libraries raise for a file that is damaged, cut off, not in its format, a folder, or not readable."""


def locate(home: Path, source: FileSource, window: str) -> tuple[Any, str]:
    """The fsspec filesystem and the path of a window's file."""
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
def connected(source: SqlSource, window: str) -> Iterator[Any]:
    """A connection to the database; its errors become DataErrors, or PlatformErrors where a retry may help."""
    import sqlalchemy as sa

    try:
        with sql_engine(source.connection).connect() as connection:
            yield connection
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
        raise PlatformError(
            f"{source_name(source, window)} failed: {_cause(error)}. Check the connection and the query; then run "
            "again."
        ) from error
    except sa.exc.SQLAlchemyError as error:
        raise DataError(
            f"{source_name(source, window)} failed: {_cause(error)}. Correct the query in model.yaml."
        ) from error


@contextmanager
def _query(source: SqlSource, window: str, grain: Grain) -> Iterator[Any]:
    import sqlalchemy as sa

    start, end = window_bounds(window, grain)
    with connected(source, window) as connection:
        streaming = connection.execution_options(stream_results=True, max_row_buffer=BATCH_ROWS)
        with streaming.execute(sa.text(source.query), {"start": start, "end": end}) as result:
            yield result


def _cause(error: Exception) -> str:
    """The driver's own words, without the statement and its parameters."""
    return str(getattr(error, "orig", None) or error).strip().rstrip(".")


def source_name(source: Source, window: str) -> str:
    """A window of a source, as error messages name it."""
    if isinstance(source, SqlSource):
        return f"window {window} of the query on '{source.connection}'"
    return f"partition {source.path.replace('{window}', window)} ({source.connection})"
