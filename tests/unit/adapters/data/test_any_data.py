"""Whatever data somebody brings: each value comes out right, or a DataError names file, column and remedy."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import json
import math
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.adapters.data.expectations import check_snapshot
from include.adapters.data.snapshots import read_snapshot, take_snapshot
from include.core.categories import boolean_value, category_text
from include.core.drift.counts import count_frame
from include.core.drift.profile import build_profile
from include.core.errors import DataError
from include.core.spec import FeatureType, ModelSpec
from include.runtime.frames import feature_frame, read_rows
from include.settings import Settings
from tests.support.specs import columns, model_spec

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": st.sampled_from(["00501", "NA", "null", "north", "1", "true", "1e5", "é", "a,b", 'say "so"', " "]),
    "integers": st.integers(-(2**62), 2**62),
    "small integers": st.integers(0, 1),
    "floats": st.floats(allow_nan=True, allow_infinity=True),
    "whole floats": st.integers(-1000, 1000).map(float),
    "booleans": st.booleans(),
    "decimals": st.decimals(-1000, 1000, places=2),
    "dates": st.dates(dt.date(2013, 5, 1), dt.date(2013, 5, 31)),
    "times": st.datetimes(dt.datetime(2013, 5, 1), dt.datetime(2013, 5, 31)),
    "bytes": st.binary(max_size=3),
    "lists": st.lists(st.integers(0, 3), max_size=2),
}
KINDS: list[FeatureType] = ["number", "integer", "category", "boolean"]


@st.composite
def brought(draw: Any) -> tuple[FeatureType, list[Any], list[Any], bool, str]:
    """A feature's type, its values, the rows' keys, whether the column is dictionary-encoded, and the source."""
    rows = draw(st.integers(1, 8))
    values = draw(
        st.lists(st.one_of(st.none(), VALUES[draw(st.sampled_from(sorted(VALUES)))]), min_size=rows, max_size=rows)
    )
    keys = draw(st.sampled_from([[f"k{n}" for n in range(rows)], [10**18 + n for n in range(rows)], ["same"] * rows]))
    source = draw(st.sampled_from(["parquet", "csv", "csv.gz", "sql"]))
    return draw(st.sampled_from(KINDS)), values, keys, draw(st.booleans()), source


def write(home: Path, source: str, frame: pd.DataFrame, encoded: bool) -> bool:
    """Store the rows; whether such a source can have such values at all."""
    path = home / "lake" / f"2013-05.{source}"
    path.parent.mkdir(exist_ok=True)
    if source == "sql":
        database = home / "source.db"
        database.unlink(missing_ok=True)
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("CREATE TABLE data (id, at, x, y)")
            try:
                connection.executemany("INSERT INTO data VALUES (?, ?, ?, ?)", frame.to_numpy(dtype=object).tolist())
            except (sqlite3.Error, OverflowError):
                return False
        return True
    if source != "parquet":
        with gzip.open(path, "wt", newline="") if source == "csv.gz" else path.open("w", newline="") as file:
            csv.writer(file).writerows([frame.columns, *frame.to_numpy(dtype=object).tolist()])
        return True
    try:
        x = pa.array(frame["x"].tolist())
        x = x.dictionary_encode() if encoded else x
        rest = {name: pa.array(frame[name].tolist()) for name in ("id", "at", "y")}
        pq.write_table(pa.table({**rest, "x": x}), path)
    except (pa.ArrowException, TypeError, OverflowError):
        return False
    return True


def right(kind: FeatureType, value: Any) -> Any:
    """What the value means for a feature of this type."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if kind == "category":
        return category_text(value)
    return boolean_value(value) if kind == "boolean" else float(value)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=brought())
def test_a_value_is_right_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[FeatureType, list[Any], list[Any], bool, str]
) -> None:
    kind, values, keys, encoded, source = case
    if source == "sql":  # SQLite has neither booleans nor times
        values = [int(value) if isinstance(value, bool) else value for value in values]
        values = [str(value) if isinstance(value, dt.date) else value for value in values]
    frame = pd.DataFrame({"id": keys, "at": "2013-05-17T08:00:00"}).astype({"id": object})
    frame["x"] = pd.Series(values, dtype=object)
    frame["y"] = [number % 2 for number in range(len(values))]
    if not write(tmp_path, source, frame, encoded):
        return
    monkeypatch.setenv("AIRFLOW_CONN_EVERGREEN_LAKE", '{"conn_type": "fs", "extra": {"path": "lake"}}')
    connection = json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "source.db")})
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", connection)
    sql = {"connection": "warehouse", "query": "SELECT * FROM data WHERE :start < :end"}
    spec = model_spec(
        target="y",
        features=columns(x=kind),
        training={"windows": 1},
        data={"source": sql if source == "sql" else {"path": f"{{window}}.{source}"}, "rows_at_least": 1},
    )
    goes_through(spec, Settings(home=tmp_path), kind, values, keys, source)


def goes_through(
    spec: ModelSpec, here: Settings, kind: FeatureType, values: list[Any], keys: list[Any], source: str
) -> None:
    """Read, check, prepare for training, and measure these rows."""
    try:
        snapshot = take_snapshot(here, spec, "2013-05")
    except DataError as error:
        place = "query on 'warehouse'" if source == "sql" else rf"2013-05\.{source}"
        if not re.search(rf"{place}.*column 'x' .*\. [A-Z]", str(error)):
            raise
        return
    rows = read_snapshot(snapshot)
    assert rows["id"].tolist() == [str(key) for key in keys]
    if source.startswith("csv"):  # a file says no more than this
        values = [None if value is None else str(value) or None for value in values]
        values = [math.nan if kind in ("number", "integer") and str(value) == "nan" else value for value in values]
    typed = feature_frame(read_rows(snapshot.paths, ["x"]), [{"name": "x", "type": kind}])["x"]
    trained = [None if pd.isna(value) else value for value in typed]
    assert trained == [right(kind, value) for value in values]
    if len(set(keys)) < len(keys):
        assert not check_snapshot(spec, snapshot, rows).passed
    count = count_frame(rows.assign(prediction=0.0), build_profile(rows, spec, np.zeros(len(rows))), spec).columns["x"]
    infinite = sum(isinstance(value, float) and math.isinf(value) for value in trained)
    assert (count.missing, count.type_errors) == (trained.count(None) + infinite, infinite)
