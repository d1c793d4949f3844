"""Counts Parquet files in a reference's bins: one column of one row group at a time, and each file only once.

Memory is bounded by one column of one row group, whatever the number of rows and columns. The counts of a file are
cached next to it, so that a growing window is never read again as a whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.adapters.data.predictions import prediction_files
from include.adapters.files import write_atomically
from include.core.drift.counts import (
    ColumnCount,
    WindowCount,
    count_categories,
    count_column,
    count_numbers,
    counted_columns,
    reference_of,
)
from include.core.drift.distribution import Array, Distribution, Profile
from include.core.errors import DataError
from include.core.spec import Feature, ModelSpec

FORMAT = 1
"""Increment when counts of the same rows would change; older cached counts are then ignored."""

Progress = Callable[[int, int], None]
"""Called with how much has been counted and the total (rows of a file, bytes of a window)."""


def count_window(
    spec: ModelSpec,
    window: str,
    version: str,
    profile: Profile | None,
    *,
    files: Mapping[Path, Array] | None = None,
    lake: Path,
    progress: Progress = lambda *_: None,
) -> WindowCount:
    """Count the rows that ``version`` predicted in a window: those of ``files`` (file → mask of its rows), or all.

    Files already counted with this profile are not opened, unless some of their rows are excluded. Raises DataError for
    a file that can't be read, or whose number of rows differs from its mask.
    """
    paths = prediction_files(spec.name, window, lake) if files is None else list(files)
    sizes = [path.stat().st_size for path in paths]
    total = WindowCount()
    for number, path in enumerate(paths, 1):
        rows = None if files is None else files[path]
        if rows is None or rows.all():
            total += _counted_once(path, spec, version, profile)
        else:
            total += count_parquet(path, spec, profile, version=version, rows=rows)
        progress(sum(sizes[:number]), sum(sizes))
    return total


def count_parquet(
    source: Path | str | IO[bytes],
    spec: ModelSpec,
    profile: Profile | None,
    *,
    version: str | None = None,
    rows: Array | None = None,
    progress: Progress = lambda *_: None,
) -> WindowCount:
    """Count one Parquet file: a path, or an open file of any fsspec filesystem.

    With ``version``, only rows with this value in the column ``version``; with ``rows`` (a mask over the file's rows),
    only these. The values of an absent column count as missing.
    """
    texts = [feature.name for feature in counted_columns(spec) if feature.type == "category"]
    try:
        file = pq.ParquetFile(source, read_dictionary=texts)
        if rows is not None and len(rows) != file.metadata.num_rows:
            raise DataError(f"{source} changed while its window was measured. Run measure_health again.")
        total = WindowCount()
        done = 0
        for group in range(file.num_row_groups):
            end = done + file.metadata.row_group(group).num_rows
            total += _count_group(file, group, spec, profile, version, None if rows is None else rows[done:end])
            done = end
            progress(done, file.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source}: can't be counted ({error}). Remove the file, or write it again.") from error
    return total


def _counted_once(path: Path, spec: ModelSpec, version: str, profile: Profile | None) -> WindowCount:
    """The count of a file, from its cache if that was made from the same file with the same reference."""
    state = path.stat()
    features = [feature.model_dump() for feature in spec.features]
    basis = [FORMAT, path.name, state.st_size, state.st_mtime_ns, version, features, _bins_of(profile)]
    key = hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()[:24]
    cache = path.parent / ".counted" / f"{path.stem}-{key}.json"
    try:
        return WindowCount.from_dict(json.loads(cache.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):  # missing or truncated
        count = count_parquet(path, spec, profile, version=version)
        write_atomically(cache, json.dumps(count.as_dict()).encode())
        return count


def _bins_of(profile: Profile | None) -> object:
    """What of a profile the counts depend on, which is most of an old one and little of one with counts by period."""
    if not profile:
        return profile
    short = {name: {**one, "spread": None} for name, one in profile["features"].items() if "spread" in one}
    prediction: Mapping[str, object] = profile["prediction"]
    if "spread" in prediction:
        prediction = {**prediction, "spread": None}
    return {**profile, "features": {**profile["features"], **short}, "prediction": prediction}


def _count_group(
    file: pq.ParquetFile,
    group: int,
    spec: ModelSpec,
    profile: Profile | None,
    version: str | None,
    mask: Array | None,
) -> WindowCount:
    chosen = mask if version is None else _rows_of(file, group, version)
    if version is not None and mask is not None:
        chosen = chosen & mask
    rows = file.metadata.row_group(group).num_rows if chosen is None else int(chosen.sum())
    columns = {}
    for feature in counted_columns(spec):
        reference = reference_of(profile, feature.name)
        if feature.name not in file.schema_arrow.names:
            columns[feature.name] = count_column(pd.Series([None] * rows, dtype="object"), feature, reference)
            continue
        values = file.read_row_group(group, columns=[feature.name], use_threads=False).column(0).combine_chunks()
        if chosen is not None and rows < len(chosen):
            values = values.filter(pa.array(chosen))
        columns[feature.name] = _count_values(values, feature, reference)
    return WindowCount(rows, columns)


def _rows_of(file: pq.ParquetFile, group: int, version: str) -> Array:
    versions = file.read_row_group(group, columns=["version"], use_threads=False).column(0)
    chosen: Array = pc.equal(versions.cast(pa.string()), version).to_numpy()
    return chosen.astype(bool)


def _count_values(values: Any, feature: Feature, reference: Distribution | None) -> ColumnCount:
    """Count an Arrow array; a type other than the feature's own is counted through pandas, which is slower."""
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if feature.type in ("integer", "number") and pa.types.is_floating(kind):
        return count_numbers(values.to_numpy(zero_copy_only=False).astype(float, copy=False), feature, reference)
    if feature.type == "category" and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        counted = pc.value_counts(values)
        names, counts = counted.field("values"), counted.field("counts").to_pylist()
        if pa.types.is_dictionary(names.type):
            names = names.dictionary_decode()
        tally = {name: count for name, count in zip(names.to_pylist(), counts, strict=True) if name is not None}
        return count_categories(tally, len(values), feature, reference)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return count_column(values.to_pandas(), feature, reference)
