"""Random samples of a window and of its version's training data, for the multivariate drift test.

The reference's rows are not stored with the version but read from the immutable snapshot in its lineage; if that is
gone, only this test fails. One column of one row group is in memory at a time.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include.adapters.data.predictions import prediction_files
from include.adapters.data.snapshots import load_snapshot
from include.core.build import Lineage
from include.core.drift.figures import MultivariateFigure
from include.core.drift.multivariate import Sample, compare, unknown
from include.core.errors import DataError
from include.core.spec import ModelSpec
from include.core.windows import grain_of, window_bounds

log = logging.getLogger(__name__)

MAX_SAMPLE_ROWS = 5_000
"""Rows per side: more would detect smaller changes but take longer."""
IDENTITY = ("request_id", "row", "key")

Array = np.ndarray[Any, Any]
Chosen = Callable[[pq.ParquetFile, int], Array]
"""A function from a file and a row group to the mask of rows that may be drawn."""


def compare_window(
    spec: ModelSpec, window: str, version: str, lineage: Lineage | None, *, lake: Path
) -> MultivariateFigure:
    """The multivariate drift figure of a window; ``unknown`` with the reason if the test can't be made.

    Never raises: the window's other figures don't depend on it.
    """
    seed = zlib.crc32(f"{spec.name} {window}".encode())
    try:
        draw = partial(reference_sample, spec, lineage, seed=seed, lake=lake)
        sample = window_sample(spec, window, version, seed=seed, lake=lake)
        return compare(
            draw(), sample, spec, seed=seed, draw_run=lambda start, end, rows: draw(rows=rows, between=(start, end))
        )
    except DataError as error:
        log.warning("%s %s: no multivariate drift: %s", spec.name, window, error)
        return unknown(str(error))
    except Exception as error:
        log.exception("%s %s: no multivariate drift", spec.name, window)
        return unknown(f"the test failed ({type(error).__name__}: {error}); see the run's log")


def reference_sample(
    spec: ModelSpec,
    lineage: Lineage | None,
    *,
    rows: int = MAX_SAMPLE_ROWS,
    between: tuple[pd.Timestamp, pd.Timestamp] | None = None,
    seed: int = 0,
    lake: Path,
) -> Sample:
    """Rows of a version's training data, with the features in all files. Raises DataError if they are gone.

    ``between``: only rows from a time (included) to another (excluded).
    """
    if lineage is None or not lineage.snapshot or not lineage.trained_until:
        raise DataError(
            f"{spec.name}: the version's lineage.json does not name its training data. "
            "The next training writes it again."
        )
    snapshot = load_snapshot(lake, spec.name, lineage.snapshot)
    until, time = pd.Timestamp(lineage.trained_until), spec.data.event_time

    def known(file: pq.ParquetFile, group: int) -> Array:
        times: pd.Series = _column(file, group, time).to_pandas()
        chosen = times <= until
        if between:
            chosen &= (times >= between[0]) & (times < between[1])
        return chosen.to_numpy(dtype=bool)

    try:
        present = set.intersection(*(set(pq.read_schema(path).names) for path in snapshot.paths))
        names = [name for name in spec.feature_names if name in present]
        return _sample(snapshot.paths, names, known, rows, seed, time)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{spec.name}: snapshot {snapshot.hash[:12]} of the version can't be read ({error}). "
            "Restore it, or train again."
        ) from error


def window_sample(
    spec: ModelSpec, window: str, version: str, *, rows: int = MAX_SAMPLE_ROWS, seed: int = 0, lake: Path
) -> Sample:
    """Rows that ``version`` predicted in a window; a row drawn from two logs is included once.

    Raises DataError for a file that can't be read.
    """
    paths = prediction_files(spec.name, window, lake)
    start, end = window_bounds(window, grain_of(window))

    def predicted(file: pq.ParquetFile, group: int) -> Array:
        versions: pd.Series = _column(file, group, "version").to_pandas()
        times: pd.Series = _column(file, group, "event_time").to_pandas()
        return ((versions.astype(str) == version) & (times >= start) & (times < end)).to_numpy(dtype=bool)

    try:
        sample = _sample(paths, [*IDENTITY, *spec.feature_names], predicted, rows, seed, "event_time")
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{spec.name}: a file of window {window} can't be read ({error}). Remove it, or write it again."
        ) from error
    once = (~sample.frame.duplicated(list(IDENTITY))).to_numpy()
    return replace(sample, frame=sample.frame[spec.feature_names]).take(np.flatnonzero(once))


def _sample(
    paths: Sequence[Path | str], names: Sequence[str], chosen: Chosen, rows: int, seed: int, time: str
) -> Sample:
    """Draw ``rows`` of the chosen rows of all files without replacement; columns absent from a file are missing.

    ``time`` is the column of event timestamps.
    """
    counts: list[tuple[Path | str, int, int]] = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            counts += [(path, group, int(chosen(file, group).sum())) for group in range(file.num_row_groups)]
    total = sum(count for _, _, count in counts)
    drawn = np.sort(np.random.default_rng(seed).choice(total, min(rows, total), replace=False))
    frames, start = [pd.DataFrame(columns=list(names), dtype="object")], 0
    times = [pd.Series(dtype="datetime64[us]")]
    for path, group, count in counts:
        local = drawn[(drawn >= start) & (drawn < start + count)] - start
        start += count
        if len(local):
            with pq.ParquetFile(path) as file:
                positions = pa.array(np.flatnonzero(chosen(file, group))[local])
                frames.append(_rows(file, group, names, positions))
                times.append(_column(file, group, time).take(positions).to_pandas())
    return Sample(
        pd.concat(frames[1:] or frames, ignore_index=True), total, pd.concat(times[1:] or times, ignore_index=True)
    )


def _rows(file: pq.ParquetFile, group: int, names: Sequence[str], positions: pa.Array) -> pd.DataFrame:
    present = set(file.schema_arrow.names)
    return pd.DataFrame(
        {
            name: _column(file, group, name).take(positions).to_pandas()
            if name in present
            else pd.Series([None] * len(positions), dtype="object")
            for name in names
        }
    )


def _column(file: pq.ParquetFile, group: int, name: str) -> pa.ChunkedArray:
    return file.read_row_group(group, columns=[name], use_threads=False).column(0)
