"""Copies the prediction log from the servers' append-only segments to Parquet files in the lake.

Gathering is incremental and idempotent. A file is named for its segment and the byte where it starts, and the position
in the store advances only after the files are written, so that after a crash the same files are written again.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.adapters.data.predictions import (
    prediction_files,
    prediction_schema,
    predictions_folder,
    windows_of,
)
from include.adapters.files import write_atomically
from include.adapters.store import Store
from include.adapters.untrusted_files import UntrustedFileError, open_regular
from include.core.categories import boolean_value, category_text
from include.core.errors import DataError
from include.core.json_types import JsonObject, with_present_names
from include.core.spec import ModelSpec

log = logging.getLogger(__name__)

SpecOf = Callable[[str], ModelSpec]
"""The specification of a version."""

CHUNK_BYTES = 16 * 2**20
"""How much of a segment is processed at once, which limits memory."""
MAX_LINE_BYTES = 128 * 2**20
"""No logged request is longer: a request has at most 16 MiB."""


@dataclass
class Gathered:
    """The counts of one gathering."""

    rows: int = 0
    segments: int = 0
    """Segments with new lines."""
    windows: Counter[str] = field(default_factory=Counter)
    """Window → number of rows written."""
    truncated_lines: int = 0
    """Segments that end in the middle of a line: still being written, or the server was killed. Read later."""
    malformed_lines: int = 0
    """Complete lines that are not valid log entries; skipped."""

    def as_dict(self) -> JsonObject:
        """JSON values, for XCom."""
        return asdict(self) | {"windows": dict(self.windows)}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Gathered:
        """The counts from the output of :meth:`as_dict`."""
        return cls(**{**with_present_names(values), "windows": Counter(values["windows"])})


def gather(spec: ModelSpec, store: Store, log_dir: Path, lake: Path, spec_of: SpecOf | None = None) -> Gathered:
    """Copy new lines of the segments in ``log_dir`` to ``lake/predictions/<model>/<window>/``.

    ``spec_of``: the specification of a version, whose features its lines have (default: ``spec`` for all); a segment is
    the log of one version. Only complete lines are read. Idempotent: running it twice, or again after a crash, gives
    the same rows.
    """
    folder = predictions_folder(spec.name, lake)
    gathered = Gathered()
    with _only_one(folder):
        for segment in sorted(log_dir.glob("*.jsonl")):
            try:
                _gather_segment(segment, spec, spec_of, store, folder, gathered)
            except UntrustedFileError as error:
                log.warning("%s was left out: it %s. Remove it: a model server did not write it.", segment, error)
    return gathered


def repair_window(
    spec: ModelSpec, window: str, store: Store, log_dir: Path, lake: Path, spec_of: SpecOf | None = None
) -> list[Path]:
    """Gather the files of a window that can't be read again, from the segments they came from; returns these files.

    Raises DataError for a file whose segment is gone.
    """
    damaged = [path for path in prediction_files(spec.name, window, lake) if not _is_readable(path)]
    folder = predictions_folder(spec.name, lake)
    with _only_one(folder):
        for path in damaged:
            content, segment, position = _source_of(path, spec, store, log_dir)
            # Written first: a crash in between must not leave a window that looks complete without these rows.
            _write_files(content, segment, position, _own_spec(content, spec, spec_of), folder, Gathered())
            if not _is_readable(path):  # its rows now lie in folders of another window length
                path.unlink()
            log.warning("%s could not be read and was gathered again from %s", path, segment)
    return damaged


def _source_of(path: Path, spec: ModelSpec, store: Store, log_dir: Path) -> tuple[bytes, Path, int]:
    """The lines from which a file was gathered, their segment, and where they start in it."""
    name, _, start = path.stem.rpartition("-")
    segment = log_dir / f"{name}.jsonl"
    content = None
    if start.isdigit():
        others = [other.stem.rpartition("-") for other in path.parent.parent.glob("*/*.parquet")]
        starts = [int(begin) for stem, _, begin in others if stem == name and begin.isdigit()]
        later = [begin for begin in starts if begin > int(start)]
        content = _bytes_of(segment, int(start), min(later, default=store.log_position(spec.name, segment.name)))
    if content is None:
        raise DataError(
            f"{path} can't be read, and the part of the prediction log that it came from is gone ({segment}). Restore "
            "one of them from a backup. Without one, remove the file; its predictions are lost."
        )
    return content, segment, int(start)


def _gather_segment(
    segment: Path,
    spec: ModelSpec,
    spec_of: SpecOf | None,
    store: Store,
    folder: Path,
    gathered: Gathered,
) -> None:
    start = position = store.log_position(spec.name, segment.name)
    with os.fdopen(open_regular(segment), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while position < size:
            content = complete_lines(file, position)
            if not content:
                gathered.truncated_lines += 1
                break
            _write_files(content, segment, position, _own_spec(content, spec, spec_of), folder, gathered)
            position += len(content)
            store.set_log_position(spec.name, segment.name, position)
    gathered.segments += position > start


def _own_spec(content: bytes, spec: ModelSpec, spec_of: SpecOf | None) -> ModelSpec:
    """The specification of the version in the first well-formed line; ``spec`` if there is none."""
    for line in content.splitlines():
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            version = str(json.loads(line)["version"])
            return spec_of(version) if spec_of else spec
    return spec


def _is_readable(path: Path) -> bool:
    try:
        pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError):
        return False
    return True


def _bytes_of(segment: Path, start: int, end: int) -> bytes | None:
    """These bytes of a segment; None if it does not have them (any more)."""
    try:
        with os.fdopen(open_regular(segment), "rb") as file:
            file.seek(start)
            content = file.read(end - start)
    except (OSError, UntrustedFileError):
        return None
    return content if start < end and len(content) == end - start else None


def complete_lines(file: Any, position: int) -> bytes:
    """About CHUNK_BYTES from ``position``, up to the end of a line; empty if there is no complete line."""
    file.seek(position)
    content = file.read(CHUNK_BYTES)
    while b"\n" not in content:
        more = file.read(CHUNK_BYTES)
        if not more:
            return b""
        content += more
        if len(content) > MAX_LINE_BYTES and b"\n" not in content:
            raise UntrustedFileError(f"has a line of more than {MAX_LINE_BYTES} bytes at byte {position}")
    return bytes(content[: content.rindex(b"\n") + 1])


def _write_files(
    content: bytes, segment: Path, position: int, spec: ModelSpec, folder: Path, gathered: Gathered
) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in prediction_schema(spec).names}
    offset = position
    for line in content.splitlines(keepends=True):
        try:
            rows = _rows(json.loads(line), spec)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            gathered.malformed_lines += 1
            log.warning("%s: skipping the line at byte %d, which is not a valid log entry (%s)", segment, offset, error)
        else:
            for name, values in rows.items():
                columns[name].extend(values)
        offset += len(line)
    table = _table(columns, spec)
    windows = windows_of(table["event_time"], spec.monitoring.window)
    for window in windows.unique():
        rows = table.filter(pa.array(windows == window))
        buffer = BytesIO()
        pq.write_table(rows, buffer, compression="zstd")
        write_atomically(folder / window / f"{segment.stem}-{position}.parquet", buffer.getvalue())
        gathered.windows[window] += len(rows)
    gathered.rows += len(table)


def _rows(line: JsonObject, spec: ModelSpec) -> dict[str, list[Any]]:
    """The columns of one logged request; ValueError if it is malformed."""
    predictions = [float(value) for value in line["predictions"]]
    count = len(predictions)
    times = [_event_time(value, spec) for value in line["event_times"]]
    features = {name: line["features"].get(name, [None] * count) for name in spec.feature_names}
    lengths = {len(line["keys"]), len(times), *map(len, features.values())}
    if lengths != {count}:
        raise ValueError(f"{count} predictions but columns of {sorted(lengths)} rows")
    if not all(map(math.isfinite, predictions)):
        raise ValueError("a prediction is not finite")
    own_id = line.get("server_request_id")  # absent in lines of earlier releases
    typed = {feature.name: _typed(features[feature.name], feature.type) for feature in spec.features}
    return {
        "request_id": [_text(line["request_id"])] * count,
        "server_request_id": [_text(own_id) if own_id else None] * count,
        "row": list(range(count)),
        "received": [float(line["received"])] * count,
        "version": [_text(line["version"])] * count,
        "release": [_text(line.get("release", ""))] * count,
        "key": [_text(key) for key in line["keys"]],
        "event_time": times,
        "prediction": predictions,
        **typed,
    }


def _text(value: Any) -> str:
    """The value as text; ValueError if it has no UTF-8 encoding, such as half a surrogate pair."""
    text = str(value)
    text.encode()
    return text


def _event_time(value: str, spec: ModelSpec) -> datetime:
    """The timestamp; ValueError if today's servers would refuse it, as those of earlier builds do not."""
    time, data = naive_utc(value), spec.data
    latest = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=data.event_time_days_ahead)
    if time.year < data.event_time_from_year or time > latest:
        raise ValueError(f"the event timestamp {value} is out of range; see data.event_time_* in model.yaml")
    return time


def naive_utc(value: str) -> datetime:
    """An event timestamp of the log as naive UTC; without an offset it is UTC."""
    time = datetime.fromisoformat(value)
    return time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)


def _typed(values: list[Any], kind: str) -> list[Any]:
    if kind == "category":
        return [None if value is None else _text(category_text(value)) for value in values]
    if kind == "boolean":
        return [boolean_value(value) for value in values]
    return [None if value is None else float(value) for value in values]


def _table(columns: dict[str, list[Any]], spec: ModelSpec) -> pa.Table:
    return pa.table(columns, schema=prediction_schema(spec))


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Serialize gatherings of one model; the lock is released when its process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
