"""Copies the prediction log from the servers' append-only segments to Parquet files in the lake.

Gathering is incremental and idempotent. A file is named for its segment and the byte where it starts, and the position
in the store advances only after the files are written, so that after a crash the same files are written again.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include.adapters.files import write_atomically
from include.adapters.store import Store
from include.core.categories import boolean_value, category_text
from include.core.errors import DataError
from include.core.health.window import count_once
from include.core.json_types import JsonObject, with_present_names
from include.core.spec import ModelSpec
from include.core.windows import Grain, grain_of, is_window, window_bounds, window_of

log = logging.getLogger(__name__)

PREDICTION_COLUMNS = ["request_id", "row", "received", "version", "key", "event_time", "prediction"]
"""The columns that are read for every prediction."""

Array = np.ndarray[Any, Any]

CHUNK_BYTES = 16 * 2**20
"""How much of a segment is processed at once, which limits memory."""


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


@dataclass(frozen=True)
class Predictions:
    """The predictions of a window, each once. Features are read lazily, one at a time."""

    frame: pd.DataFrame
    """request_id, row, received, version, key, event_time, prediction."""
    duplicates: int
    positions: Array
    """The position of each row of ``frame`` among all rows of the files."""
    files: dict[Path, Array]
    """File → mask of its counted rows."""
    spec: ModelSpec

    def feature(self, name: str, rows: Array | None = None) -> pd.Series:
        """A logged feature of all rows, or of those at the positions ``rows``; missing if it was not logged.

        Raises DataError when a file has changed in the meantime.
        """
        schema = pa.schema([_schema(self.spec).field(name)])
        tables = [schema.empty_table()]
        for path, counted in self.files.items():
            file = pq.ParquetFile(path)
            if file.metadata.num_rows != len(counted):
                raise DataError(f"{path} changed while its window was measured. Run measure_health again.")
            # Rows of versions for which the feature had another type are none of the live version's.
            readable = name in file.schema_arrow.names and file.schema_arrow.field(name).type == schema.field(0).type
            tables.append(file.read(columns=[name]) if readable else _missing(len(counted)))
        positions = self.positions if rows is None else self.positions[rows]
        whole = pa.concat_tables(tables, promote_options="default").column(name)
        values: pd.Series = whole.take(pa.array(positions)).to_pandas()
        return values.rename(name)


def gather(
    spec: ModelSpec, store: Store, log_dir: Path, lake: Path, spec_of: Callable[[str], ModelSpec] | None = None
) -> Gathered:
    """Copy new lines of the segments in ``log_dir`` to ``lake/predictions/<model>/<window>/``.

    ``spec_of``: the specification of a version, whose features its lines have (default: ``spec`` for all); a segment is
    the log of one version. Only complete lines are read. Idempotent: running it twice, or again after a crash, gives
    the same rows.
    """
    folder = predictions_folder(spec.name, lake)
    gathered = Gathered()
    with _only_one(folder):
        for segment in sorted(log_dir.glob("*.jsonl")):
            _gather_segment(segment, spec, spec_of, store, folder, gathered)
    return gathered


def read_predictions(spec: ModelSpec, window: str, lake: Path) -> Predictions:
    """All predictions of the window; a row in two logs is included once.

    Raises DataError for a file that can't be read.
    """
    paths = prediction_files(spec.name, window, lake)
    schema = pa.schema([_schema(spec).field(name) for name in PREDICTION_COLUMNS])
    tables = [_read_file(path) for path in paths]
    whole = (
        pa.concat_tables([schema.empty_table(), *tables], promote_options="default")
        .select(PREDICTION_COLUMNS)
        .to_pandas()
    )
    start, end = window_bounds(window, grain_of(window))
    whole = whole.assign(position=np.arange(len(whole)))
    frame, duplicates = count_once(whole[(whole["event_time"] >= start) & (whole["event_time"] < end)])
    positions = frame.pop("position").to_numpy()
    counted = np.zeros(len(whole), dtype=bool)
    counted[positions] = True
    ends = np.cumsum([table.num_rows for table in tables], dtype=int)
    masks = np.split(counted, ends[:-1]) if paths else []
    return Predictions(frame, duplicates, positions, dict(zip(paths, masks, strict=True)), spec)


def gathered_rows(model: str, lake: Path, grain: Grain) -> dict[str, int]:
    """Window of this grain → number of rows gathered so far, including repeats; oldest window first."""
    rows: Counter[str] = Counter()
    for folder in predictions_folder(model, lake).glob("*"):
        if not is_window(folder.name):
            continue
        for path in folder.glob("*.parquet"):
            if grain_of(folder.name) == grain:
                rows[folder.name] += pq.ParquetFile(path).metadata.num_rows
            else:
                times = pq.read_table(path, columns=["event_time"]).column(0)
                rows.update(_windows(times, grain).tolist())
    return dict(sorted(rows.items()))


def prediction_files(model: str, window: str, lake: Path) -> list[Path]:
    """The files that may have rows of the window.

    A file lies in the folder of the window that its rows had when they were gathered. After monitoring.window has
    changed, that may be a longer or a shorter one, with rows of other windows.
    """
    start, end = window_bounds(window, grain_of(window))
    paths: list[Path] = []
    for folder in predictions_folder(model, lake).glob("*"):
        if is_window(folder.name):
            begins, ends = window_bounds(folder.name, grain_of(folder.name))
            if begins < end and ends > start:
                paths += folder.glob("*.parquet")
    return sorted(paths)


def predictions_folder(model: str, lake: Path) -> Path:
    """The folder of a model's gathered predictions, with a folder per window."""
    return lake / "predictions" / model


def _read_file(path: Path) -> pa.Table:
    try:
        return pq.ParquetFile(path).read(columns=PREDICTION_COLUMNS)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: can't be read ({error}). Remove the file, or write it again.") from error


def _missing(rows: int) -> pa.Table:
    """This many rows without any columns; concatenated with other tables, they become nulls."""
    return pa.table({"": pa.nulls(rows)})


def _gather_segment(
    segment: Path,
    spec: ModelSpec,
    spec_of: Callable[[str], ModelSpec] | None,
    store: Store,
    folder: Path,
    gathered: Gathered,
) -> None:
    start = position = store.log_position(spec.name, segment.name)
    size = segment.stat().st_size
    with segment.open("rb") as file:
        while position < size:
            content = _complete_lines(file, position)
            if not content:
                gathered.truncated_lines += 1
                break
            version = _version_of(content)
            own = spec_of(version) if spec_of and version else spec
            _write_files(content, segment, position, own, folder, gathered)
            position += len(content)
            store.set_log_position(spec.name, segment.name, position)
    gathered.segments += position > start


def _version_of(content: bytes) -> str | None:
    """The version in the first well-formed line; None if there is none."""
    for line in content.splitlines():
        with suppress(ValueError, KeyError, TypeError):
            return str(json.loads(line)["version"])
    return None


def _complete_lines(file: Any, position: int) -> bytes:
    """About CHUNK_BYTES from ``position``, up to the end of a line; empty if there is no complete line."""
    file.seek(position)
    content = file.read(CHUNK_BYTES)
    while b"\n" not in content:
        more = file.read(CHUNK_BYTES)
        if not more:
            return b""
        content += more
    return bytes(content[: content.rindex(b"\n") + 1])


def _write_files(
    content: bytes, segment: Path, position: int, spec: ModelSpec, folder: Path, gathered: Gathered
) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in _schema(spec).names}
    offset = position
    for line in content.splitlines(keepends=True):
        try:
            rows = _rows(json.loads(line), spec)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            gathered.malformed_lines += 1
            log.warning("%s: skipping the line at byte %d, which is not a valid log entry (%s)", segment, offset, error)
        else:
            for name, values in rows.items():
                columns[name].extend(values)
        offset += len(line)
    table = _table(columns, spec)
    windows = _windows(table["event_time"], spec.monitoring.window)
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
    times = [_naive_utc(value) for value in line["event_times"]]
    features = {name: line["features"].get(name, [None] * count) for name in spec.feature_names}
    lengths = {len(line["keys"]), len(times), *map(len, features.values())}
    if lengths != {count}:
        raise ValueError(f"{count} predictions but columns of {sorted(lengths)} rows")
    if not all(map(math.isfinite, predictions)):
        raise ValueError("a prediction is not finite")
    typed = {feature.name: _typed(features[feature.name], feature.type) for feature in spec.features}
    return {
        "request_id": [_text(line["request_id"])] * count,
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


def _naive_utc(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    return time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)


def _typed(values: list[Any], kind: str) -> list[Any]:
    if kind == "category":
        return [None if value is None else _text(category_text(value)) for value in values]
    if kind == "boolean":
        return [boolean_value(value) for value in values]
    return [None if value is None else float(value) for value in values]


def _table(columns: dict[str, list[Any]], spec: ModelSpec) -> pa.Table:
    return pa.table(columns, schema=_schema(spec))


def _schema(spec: ModelSpec) -> pa.Schema:
    kinds = {"category": pa.string(), "boolean": pa.bool_()}
    fixed = {
        "request_id": pa.string(),
        "row": pa.int64(),
        "received": pa.float64(),
        "version": pa.string(),
        "release": pa.string(),
        "key": pa.string(),
        "event_time": pa.timestamp("us"),
        "prediction": pa.float64(),
    }
    features = {feature.name: kinds.get(feature.type, pa.float64()) for feature in spec.features}
    return pa.schema([*fixed.items(), *features.items()])


def _windows(times: pa.ChunkedArray, grain: Grain) -> pd.Series:
    days: pd.Series = times.to_pandas().dt.normalize()
    names = {day: window_of(day, grain) for day in days.unique()}
    return days.map(names)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Serialize gatherings of one model; the lock is released when its process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
