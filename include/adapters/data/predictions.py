"""The prediction log: from the servers' append-only segments to Parquet in the lake.

Gathering is incremental and idempotent. A part is named for its segment and the byte where it starts, and the position
in the store moves on only when the parts are there, so a crash in between writes the same parts again.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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
from include.core.json_types import JsonObject
from include.core.spec import ModelSpec
from include.core.windows import Grain, window_of

log = logging.getLogger(__name__)

ANSWER = ["request_id", "row", "received", "version", "key", "event_time", "prediction"]
"""What is read of every prediction: who asked for what, when, and what was answered."""

Array = np.ndarray[Any, Any]

CHUNK_BYTES = 16 * 2**20
"""How much of a segment becomes one part; bounds the memory that gathering takes."""


@dataclass
class Gathered:
    """What one gathering found."""

    rows: int = 0
    segments: int = 0
    """Segments that had something new."""
    windows: Counter[str] = field(default_factory=Counter)
    """Window → rows written for it."""
    truncated_lines: int = 0
    """Segments that end in the middle of a line: being written, or their server was killed. Left for later."""
    malformed_lines: int = 0
    """Whole lines that are not a request as the server writes it; skipped."""

    def as_dict(self) -> JsonObject:
        """JSON values, as they stand in XCom."""
        return asdict(self) | {"windows": dict(self.windows)}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Gathered:
        """What was written with :meth:`as_dict`."""
        return cls(**{**values, "windows": Counter(values["windows"])})


@dataclass(frozen=True)
class Predictions:
    """The predictions of a window, each counted once. Features are read one at a time, when they are asked for."""

    frame: pd.DataFrame
    """request_id, row, received, version, key, event_time, prediction."""
    duplicates: int
    places: Array
    """Of each row of ``frame``: its place among all the rows of the parts."""
    parts: dict[Path, Array]
    """Part → which of its rows are counted."""
    spec: ModelSpec

    def feature(self, name: str, rows: Array | None = None) -> pd.Series:
        """A feature of all rows, or of those at the positions ``rows``, as it was logged; missing where it was not.

        Raises DataError when a part has other rows than before.
        """
        schema = pa.schema([_schema(self.spec).field(name)])
        tables = [schema.empty_table()]
        for part, counted in self.parts.items():
            file = pq.ParquetFile(part)
            if file.metadata.num_rows != len(counted):
                raise DataError(f"{part} was written again while its window was measured. Run measure_health again.")
            tables.append(file.read(columns=[name]) if name in file.schema_arrow.names else _missing(len(counted)))
        places = self.places if rows is None else self.places[rows]
        whole = pa.concat_tables(tables, promote_options="default").column(name)
        values: pd.Series = whole.take(pa.array(places)).to_pandas()
        return values.rename(name)


def gather(spec: ModelSpec, store: Store, log_dir: Path, lake: Path) -> Gathered:
    """Move what is new in the segments of ``log_dir`` into ``lake/predictions/<model>/<window>/``.

    Only whole lines are taken. Running it twice, or again after it was killed anywhere, gives the same rows.
    """
    folder = predictions_folder(spec.name, lake)
    gathered = Gathered()
    with _only_one(folder):
        for segment in sorted(log_dir.glob("*.jsonl")):
            _gather_segment(segment, spec, store, folder, gathered)
    return gathered


def read_predictions(spec: ModelSpec, window: str, lake: Path) -> Predictions:
    """All predictions of the window; a row that stands in two logs is there once.

    Raises DataError for a part that can't be read.
    """
    parts = sorted((predictions_folder(spec.name, lake) / window).glob("*.parquet"))
    schema = pa.schema([_schema(spec).field(name) for name in ANSWER])
    tables = [_read_part(part) for part in parts]
    whole = pa.concat_tables([schema.empty_table(), *tables], promote_options="default").select(ANSWER).to_pandas()
    frame, duplicates = count_once(whole.assign(place=np.arange(len(whole))))
    places = frame.pop("place").to_numpy()
    counted = np.zeros(len(whole), dtype=bool)
    counted[places] = True
    ends = np.cumsum([table.num_rows for table in tables], dtype=int)
    kept = np.split(counted, ends[:-1]) if parts else []
    return Predictions(frame, duplicates, places, dict(zip(parts, kept, strict=True)), spec)


def gathered_rows(model: str, lake: Path) -> dict[str, int]:
    """Window → rows gathered so far, repeats included; oldest window first."""
    folders = sorted(path for path in predictions_folder(model, lake).glob("*") if path.is_dir())
    return {
        folder.name: sum(pq.ParquetFile(part).metadata.num_rows for part in folder.glob("*.parquet"))
        for folder in folders
    }


def predictions_folder(model: str, lake: Path) -> Path:
    """Where a model's gathered predictions are: a folder for each window."""
    return lake / "predictions" / model


def _read_part(part: Path) -> pa.Table:
    try:
        return pq.ParquetFile(part).read(columns=ANSWER)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{part}: can't be read ({error}). Remove the file, or write it again.") from error


def _missing(rows: int) -> pa.Table:
    """So many rows without any column, which have nulls once they are joined with others."""
    return pa.table({"": pa.nulls(rows)})


def _gather_segment(segment: Path, spec: ModelSpec, store: Store, folder: Path, gathered: Gathered) -> None:
    start = position = store.log_position(spec.name, segment.name)
    size = segment.stat().st_size
    with segment.open("rb") as file:
        while position < size:
            content = _whole_lines(file, position)
            if not content:
                gathered.truncated_lines += 1
                break
            _write_parts(content, segment, position, spec, folder, gathered)
            position += len(content)
            store.set_log_position(spec.name, segment.name, position)
    gathered.segments += position > start


def _whole_lines(file: Any, position: int) -> bytes:
    """About CHUNK_BYTES from ``position``, up to the end of a line; empty when there is no whole line."""
    file.seek(position)
    content = file.read(CHUNK_BYTES)
    while b"\n" not in content:
        more = file.read(CHUNK_BYTES)
        if not more:
            return b""
        content += more
    return bytes(content[: content.rindex(b"\n") + 1])


def _write_parts(
    content: bytes, segment: Path, position: int, spec: ModelSpec, folder: Path, gathered: Gathered
) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in _schema(spec).names}
    offset = position
    for line in content.splitlines(keepends=True):
        try:
            rows = _rows(json.loads(line), spec)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            gathered.malformed_lines += 1
            log.warning("%s: the line at byte %d is not a logged request and is skipped (%s)", segment, offset, error)
        else:
            for name, values in rows.items():
                columns[name].extend(values)
        offset += len(line)
    table = _table(columns, spec)
    windows = _windows(table["event_time"], spec.monitoring.window)
    for window in windows.unique():
        part = table.filter(pa.array(windows == window))
        buffer = BytesIO()
        pq.write_table(part, buffer, compression="zstd")
        write_atomically(folder / window / f"{segment.stem}-{position}.parquet", buffer.getvalue())
        gathered.windows[window] += len(part)
    gathered.rows += len(table)


def _rows(line: JsonObject, spec: ModelSpec) -> dict[str, list[Any]]:
    """The columns of one logged request; ValueError when it is not as the server writes it."""
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
    """The value as text; ValueError for what has no UTF-8, such as half a surrogate pair."""
    text = str(value)
    text.encode()
    return text


def _naive_utc(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


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
    """Two gatherings of one model take turns; the lock goes with its process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
