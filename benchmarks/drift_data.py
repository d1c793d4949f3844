"""Seeded windows for the drift benchmark: normal, skewed and count features, and categories of decreasing share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from include.core.drift.distribution import Array
from include.core.spec import ModelSpec
from tests.support.specs import model_spec

SHARES = np.round(1 / np.arange(1, 21) / np.sum(1 / np.arange(1, 21)), 10)
CHUNK = 500_000
"""Rows per row group."""

Columns = dict[str, Array]


def drift_spec(numbers: int, categories: int, false_alarm_rate: float) -> ModelSpec:
    """A model with features n0, n1, … and c0, c1, …; any effect counts as drift, however small."""
    features = [{"name": f"n{number}", "type": "number"} for number in range(numbers)]
    features += [{"name": f"c{number}", "type": "category"} for number in range(categories)]
    source = {"source": {"path": "{window}.parquet"}}
    return model_spec(
        name="bench",
        task="regression",
        target="y",
        features=features,
        data=source,
        truth=source,
        monitoring={"window": "day", "drift_false_alarm_rate": false_alarm_rate, "drift_effect_at_least": 0},
    )


def columns_of(spec: ModelSpec, rows: int, random: np.random.Generator) -> Columns:
    """Numeric columns (normal, gamma and Poisson in rotation), category codes, and the prediction."""
    columns: Columns = {}
    for position, feature in enumerate(spec.features):
        if feature.type == "category":
            columns[feature.name] = np.searchsorted(np.cumsum(SHARES)[:-1], random.random(rows))
        else:
            kinds = (random.standard_normal, lambda n: random.gamma(2, 2, n), lambda n: random.poisson(3, n) * 1.0)
            columns[feature.name] = np.asarray(kinds[position % 3](rows))
    return {**columns, "prediction": random.random(rows)}


def write_parquet(path: Path, spec: ModelSpec, rows: int, seed: int) -> None:
    """Write ``rows`` rows, one row group at a time."""
    random = np.random.default_rng(seed)
    names = pa.array([f"category {code}" for code in range(len(SHARES))])
    writer = None
    for start in range(0, rows, CHUNK):
        columns = columns_of(spec, min(CHUNK, rows - start), random)
        arrays = {
            name: pa.DictionaryArray.from_arrays(pa.array(values, pa.int32()), names).cast(pa.string())
            if name.startswith("c")
            else pa.array(values)
            for name, values in columns.items()
        }
        table = pa.table(arrays)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer:
        writer.close()
