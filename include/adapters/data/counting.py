"""Counting Parquet into a reference's bins: one column of one row group at a time, and each file only once.

Memory is bounded by one column of one row group, whatever the number of rows and columns. What was counted of a part is
kept beside it, so that a window that grows is never read again as a whole.
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

from include.adapters.data.predictions import predictions_folder
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
from include.core.drift.profile import Array, Distribution, Profile
from include.core.errors import DataError
from include.core.spec import Feature, ModelSpec

FORMAT = 1
"""Raise it when a count of the same rows would be another; what was kept before is then not used."""

Progress = Callable[[int, int], None]
"""Told how much is counted, and how much there is (rows of a file, bytes of a window)."""


def count_window(
    spec: ModelSpec,
    window: str,
    version: str,
    profile: Profile | None,
    *,
    parts: Mapping[Path, Array] | None = None,
    lake: Path,
    progress: Progress = lambda *_: None,
) -> WindowCount:
    """The rows that ``version`` answered in a window: those of ``parts`` (part → which of its rows), or all.

    Parts that were counted with this profile before are not opened, but for those of which some rows are left out.
    Raises DataError for a part that can't be read, or that has other rows than ``parts`` says.
    """
    files = sorted((predictions_folder(spec.name, lake) / window).glob("*.parquet")) if parts is None else list(parts)
    sizes = [part.stat().st_size for part in files]
    total = WindowCount()
    for number, part in enumerate(files, 1):
        rows = None if parts is None else parts[part]
        if rows is None or rows.all():
            total += _counted_once(part, spec, version, profile)
        else:
            total += count_parquet(part, spec, profile, version=version, rows=rows)
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

    With ``version``, only the rows whose column ``version`` says so; with ``rows`` (true or false for each row of the
    file), only these. A column that the file lacks counts as missing.
    """
    texts = [feature.name for feature in counted_columns(spec) if feature.type == "category"]
    try:
        file = pq.ParquetFile(source, read_dictionary=texts)
        if rows is not None and len(rows) != file.metadata.num_rows:
            raise DataError(f"{source} was written again while its window was measured. Run measure_health again.")
        total = WindowCount()
        done = 0
        for group in range(file.num_row_groups):
            end = done + file.metadata.row_group(group).num_rows
            total += _count_group(file, group, spec, profile, version, None if rows is None else rows[done:end])
            done = end
            progress(done, file.metadata.num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{source}: can't be counted ({error}). Remove the file, or write it again.") from error
    return total


def _counted_once(part: Path, spec: ModelSpec, version: str, profile: Profile | None) -> WindowCount:
    """The count of a part, from the file beside it if that was made of the same bytes with the same reference."""
    state = part.stat()
    features = [feature.model_dump() for feature in spec.features]
    basis = [FORMAT, part.name, state.st_size, state.st_mtime_ns, version, features, profile]
    key = hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()[:24]
    kept = part.parent / ".counted" / f"{part.stem}-{key}.json"
    try:
        return WindowCount.from_dict(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):  # not there, or torn
        count = count_parquet(part, spec, profile, version=version)
        write_atomically(kept, json.dumps(count.as_dict()).encode())
        return count


def _count_group(
    file: pq.ParquetFile,
    group: int,
    spec: ModelSpec,
    profile: Profile | None,
    version: str | None,
    kept: Array | None,
) -> WindowCount:
    chosen = kept if version is None else _rows_of(file, group, version)
    if version is not None and kept is not None:
        chosen = chosen & kept
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
    """Count an Arrow array; a type that is not the feature's own takes the slower way over pandas."""
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
