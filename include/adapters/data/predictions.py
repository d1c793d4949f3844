"""Reads the predictions that were gathered into the lake: one Parquet file for each part of a segment and window."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include.core.errors import DataError
from include.core.health.window import count_once
from include.core.spec import ModelSpec
from include.core.windows import Grain, grain_of, in_grain, is_window, window_bounds, window_of

PREDICTION_COLUMNS = ["request_id", "row", "received", "version", "key", "event_time", "prediction"]
"""The columns that are read for every prediction."""

Array = np.ndarray[Any, Any]

UNREADABLE_ROWS = 10**15


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
        schema = pa.schema([prediction_schema(self.spec).field(name)])
        tables = [schema.empty_table()]
        for path, counted in self.files.items():
            file = pq.ParquetFile(path)
            if file.metadata.num_rows != len(counted):
                raise DataError(f"{path} changed while its window was measured. Run measure_health again.")
            # Rows of versions for which the feature had another type are none of the live version's.
            readable = name in file.schema_arrow.names and file.schema_arrow.field(name).type == schema.field(0).type
            tables.append(_read_column(path, file, name) if readable else _missing(len(counted)))
        positions = self.positions if rows is None else self.positions[rows]
        whole = pa.concat_tables(tables, promote_options="default").column(name)
        values: pd.Series = whole.take(pa.array(positions)).to_pandas()
        return values.rename(name)


def read_predictions(spec: ModelSpec, window: str, lake: Path) -> Predictions:
    """All predictions of the window; a row in two logs is included once.

    Raises DataError for a file that can't be read.
    """
    paths = prediction_files(spec.name, window, lake)
    schema = pa.schema([prediction_schema(spec).field(name) for name in PREDICTION_COLUMNS])
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


def no_predictions() -> pd.DataFrame:
    """The frame of a window without predictions."""
    columns = [_schema_of_fixed().field(name) for name in PREDICTION_COLUMNS]
    frame: pd.DataFrame = pa.schema(columns).empty_table().to_pandas()
    return frame


def gathered_rows(model: str, lake: Path, grain: Grain) -> dict[str, int]:
    """Window of this grain → number of rows gathered so far, including repeats; oldest window first.

    For a file that can't be read, it is a number that no measured window has.
    """
    rows: Counter[str] = Counter()
    for folder in predictions_folder(model, lake).glob("*"):
        if not is_window(folder.name):
            continue
        for path in folder.glob("*.parquet"):
            try:
                if grain_of(folder.name) == grain:
                    rows[folder.name] += pq.ParquetFile(path).metadata.num_rows
                else:
                    times = pq.read_table(path, columns=["event_time"]).column(0)
                    rows.update(windows_of(times, grain).tolist())
            except (pa.ArrowException, OSError):
                rows[in_grain(folder.name, grain)] += UNREADABLE_ROWS
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
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: can't be read ({error}). It is gathered again with its window.") from error


def _read_column(path: Path, file: pq.ParquetFile, name: str) -> pa.Table:
    try:
        return file.read(columns=[name])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: '{name}' can't be read ({error}). It is gathered again with its window.") from error


def _missing(rows: int) -> pa.Table:
    """This many rows without any columns; concatenated with other tables, they become nulls."""
    return pa.table({"": pa.nulls(rows)})


def windows_of(times: pa.ChunkedArray, grain: Grain) -> pd.Series:
    """The window of each event timestamp."""
    days: pd.Series = times.to_pandas().dt.normalize()
    names = {day: window_of(day, grain) for day in days.unique()}
    return days.map(names)


def prediction_schema(spec: ModelSpec) -> pa.Schema:
    """The columns of a file, with the features of this specification."""
    kinds = {"category": pa.string(), "boolean": pa.bool_()}
    features = {feature.name: kinds.get(feature.type, pa.float64()) for feature in spec.features}
    return pa.schema([*_schema_of_fixed(), *features.items()])


def _schema_of_fixed() -> pa.Schema:
    fixed = {
        "request_id": pa.string(),
        "server_request_id": pa.string(),
        "row": pa.int64(),
        "received": pa.float64(),
        "version": pa.string(),
        "release": pa.string(),
        "key": pa.string(),
        "event_time": pa.timestamp("us"),
        "prediction": pa.float64(),
    }
    return pa.schema(list(fixed.items()))
