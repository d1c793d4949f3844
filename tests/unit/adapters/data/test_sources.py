"""Snapshots and their checks: the same data has the same hash, and bad data is refused with column and remedy."""

import json
import sqlite3
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.adapters.data import sources
from include.adapters.data.expectations import check_snapshot
from include.adapters.data.snapshots import load_snapshot, read_snapshot, take_snapshot
from include.adapters.data.sources import known_windows, read_keys, read_window, window_exists
from include.adapters.spec_file import load_spec
from include.core.errors import DataError
from include.core.spec import FileSource, ModelSpec, SqlSource
from include.settings import PROJECT, Settings


def flights_of(window: str, rows: int = 1200, seed: int = 0) -> pd.DataFrame:
    """Made-up rows that satisfy the bundled spec."""
    spec = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
    random = np.random.default_rng(seed)
    columns = {
        "flight_id": [f"{window}-{number}" for number in range(rows)],
        "scheduled_departure": pd.Timestamp(f"{window}-01")
        + pd.to_timedelta(random.integers(0, 27 * 24 * 60, rows), unit="min"),
        "late": random.integers(0, 2, rows),
    }
    for feature in spec.features:
        if feature.type == "category":
            columns[feature.name] = random.choice(feature.categories or ["a", "b", "c"], rows)
        else:
            low, high = feature.minimum or 0, feature.maximum or 100
            values = random.uniform(low, high, rows)
            columns[feature.name] = values.astype(int) if feature.type == "integer" else values
    return pd.DataFrame(columns)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose lake is in tmp_path."""
    return Settings(home=tmp_path)


@pytest.fixture
def land(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A lake in tmp_path; returns a function that lands one window of training data."""
    monkeypatch.setenv("AIRFLOW_CONN_EVERGREEN_LAKE", '{"conn_type": "fs", "extra": {"path": "lake"}}')

    def write(window: str, frame: pd.DataFrame | None = None, **changes: Any) -> None:
        path = tmp_path / "lake" / "flights" / "training" / f"{window}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = flights_of(window) if frame is None else frame
        frame.assign(**changes).to_parquet(path, index=False)

    return write


def verdict_on(settings: Settings, spec: ModelSpec) -> Any:
    snapshot = take_snapshot(settings, spec, None)
    return check_snapshot(spec, snapshot, read_snapshot(snapshot))


def test_the_same_data_gives_the_same_snapshot_and_other_data_another(
    spec: ModelSpec, land: Any, settings: Settings
) -> None:
    land("2013-01")
    land("2013-02")
    first, again = take_snapshot(settings, spec, None), take_snapshot(settings, spec, None)
    assert first == again
    assert (first.window, list(first.partitions), first.rows) == ("2013-02", ["2013-01", "2013-02"], 2400)
    land("2013-02", flights_of("2013-02", seed=5))
    assert take_snapshot(settings, spec, None).hash != first.hash


def test_a_snapshot_stays_what_it_was_when_the_partition_is_overwritten(
    spec: ModelSpec, land: Any, settings: Settings
) -> None:
    land("2013-01")
    before = read_snapshot(take_snapshot(settings, spec, None))
    snapshot = take_snapshot(settings, spec, None)
    land("2013-01", flights_of("2013-01", seed=9))
    pd.testing.assert_frame_equal(read_snapshot(load_snapshot(settings.lake, "flights", snapshot.hash)), before)


def test_only_the_newest_windows_up_to_the_one_asked_for_are_taken(
    spec: ModelSpec, land: Any, settings: Settings
) -> None:
    for month in range(1, 10):
        land(f"2013-{month:02}")
    assert list(take_snapshot(settings, spec, "2013-08").partitions) == [f"2013-{month:02}" for month in range(3, 9)]


def test_good_data_passes_and_counts_its_checks(spec: ModelSpec, land: Any, settings: Settings) -> None:
    land("2013-01")
    verdict = verdict_on(settings, spec)
    assert verdict.answer == "pass"
    assert verdict.signals["checks"] > 40


@pytest.mark.parametrize(
    "changes, column, found",
    [
        ({"distance": np.nan}, "distance", "rows"),
        ({"distance": np.inf}, "distance", "inf"),
        ({"distance": -np.inf}, "distance", "inf"),
        ({"distance": 99_999.0}, "distance", "99999"),
        ({"distance": "far"}, "distance", "type"),
        ({"origin": "XXX"}, "origin", "XXX"),
        ({"flight_id": "same"}, "flight_id", "1200 rows"),
        ({"late": 2}, "late", "2"),
        ({"late": 1}, "late", "does not hold"),
        ({"late": np.nan}, "late", "rows"),
    ],
)
def test_bad_values_fail_with_column_and_count(
    spec: ModelSpec, land: Any, settings: Settings, changes: Any, column: str, found: str
) -> None:
    land("2013-01", **changes)
    verdict = verdict_on(settings, spec)
    assert verdict.answer == "fail"
    failures = [failure for failure in verdict.signals["failures"] if failure["column"] == column]
    assert failures, verdict.reason
    assert any(found in failure["found"] for failure in failures), failures


def test_a_partition_with_too_few_rows_fails(spec: ModelSpec, land: Any, settings: Settings) -> None:
    land("2013-01")
    land("2013-02", flights_of("2013-02", rows=999))
    assert "999 rows" in verdict_on(settings, spec).reason


def test_a_missing_partition_is_named(spec: ModelSpec, land: Any, settings: Settings) -> None:
    land("2013-01")
    with pytest.raises(DataError, match="2013-03.parquet .* does not exist"):
        take_snapshot(settings, spec, "2013-03")


def test_no_partition_at_all_is_an_error_with_a_remedy(spec: ModelSpec, land: Any, settings: Settings) -> None:
    with pytest.raises(DataError, match="no partition exists yet"):
        take_snapshot(settings, spec, None)


def test_an_empty_partition_is_refused(spec: ModelSpec, land: Any, settings: Settings) -> None:
    land("2013-01", flights_of("2013-01").iloc[:0])
    with pytest.raises(DataError, match="has no rows"):
        take_snapshot(settings, spec, None)


def test_a_missing_column_is_named(spec: ModelSpec, land: Any, settings: Settings) -> None:
    land("2013-01", flights_of("2013-01").drop(columns="distance"))
    with pytest.raises(DataError, match=r"lacks the column\(s\) distance"):
        take_snapshot(settings, spec, None)


def test_a_file_that_is_not_parquet_is_refused(spec: ModelSpec, land: Any, tmp_path: Path, settings: Settings) -> None:
    land("2013-01")
    (tmp_path / "lake" / "flights" / "training" / "2013-01.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="can't be read"):
        take_snapshot(settings, spec, None)


def test_rows_of_another_window_are_refused(spec: ModelSpec, land: Any, settings: Settings) -> None:
    land("2013-01", flights_of("2013-02"))
    with pytest.raises(DataError, match="outside of it"):
        take_snapshot(settings, spec, None)


def test_a_window_that_is_no_window_is_refused(spec: ModelSpec, land: Any, settings: Settings) -> None:
    with pytest.raises(DataError, match="is not a month"):
        take_snapshot(settings, spec, "May")


def test_csv_partitions_are_read_too(land: Any, tmp_path: Path, settings: Settings) -> None:
    source = FileSource(path="csv/{window}.csv")
    (tmp_path / "lake" / "csv").mkdir(parents=True)
    flights_of("2013-01", rows=5).to_csv(tmp_path / "lake" / "csv" / "2013-01.csv", index=False)
    assert known_windows(settings.home, source) == ["2013-01"]
    assert window_exists(settings.home, source, "2013-01", "month")
    assert len(read_window(settings.home, source, "2013-01", "month")) == 5


def test_what_is_no_window_is_not_among_the_windows(land: Any, tmp_path: Path, settings: Settings) -> None:
    folder = tmp_path / "lake" / "csv"
    folder.mkdir(parents=True)
    for name in ("2013-01", "2013-W05", "2013-01-31", "tmp-2013-02", ".2013-03", "2013-04 (1)"):
        (folder / f"{name}.csv").write_text("a\n1\n")
    assert known_windows(settings.home, FileSource(path="csv/{window}.csv")) == [
        "2013-01",
        "2013-01-31",
        "2013-W05",
    ]


def test_a_partition_that_comes_later_is_seen_where_listings_are_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """As object storage does: the triggerer would list once and then see nothing new for as long as it runs."""
    source = FileSource(path="{window}.csv", connection="web")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        extra = {"path": f"http://127.0.0.1:{server.server_port}", "use_listings_cache": True}
        monkeypatch.setenv("AIRFLOW_CONN_WEB", json.dumps({"conn_type": "http", "extra": extra}))
        for windows in (["2013-01"], ["2013-01", "2013-02"]):
            (tmp_path / f"{windows[-1]}.csv").write_text("a\n1\n")
            assert known_windows(settings.home, source) == windows
        server.shutdown()


def test_data_can_come_from_sql_through_a_connection(
    land: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "source.db") as database:
        database.execute("create table flights (id text, at text)")
        database.executemany("insert into flights values (?, ?)", [("a", "2013-01-05"), ("b", "2013-02-05")])
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", f'{{"conn_type": "sqlite", "host": "{tmp_path / "source.db"}"}}')
    source = SqlSource(connection="warehouse", query="select id, at from flights where at >= :start and at < :end")
    assert read_window(settings.home, source, "2013-02", "month")["id"].tolist() == ["b"]
    assert not window_exists(settings.home, source, "2013-03", "month")


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz", "sql"])
def test_rows_are_found_by_key_a_batch_at_a_time(
    land: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, settings: Settings
) -> None:
    monkeypatch.setattr(sources, "BATCH_ROWS", 7)
    frame = pd.DataFrame({"id": range(50), "x": [n / 2 for n in range(50)], "other": "text"})
    source: FileSource | SqlSource = FileSource(path=f"{{window}}.{kind if kind != 'sql' else 'csv'}")
    if kind == "sql":
        database = tmp_path / "source.db"
        with closing(sqlite3.connect(database)) as connection:
            frame.to_sql("flights", connection, index=False)
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(database)}))
        source = SqlSource(query="SELECT * FROM flights WHERE :start < :end", connection="warehouse")
    else:
        path = tmp_path / "lake" / f"2013-01.{kind}"
        path.parent.mkdir()
        frame.to_parquet(path) if kind == "parquet" else frame.to_csv(path, index=False)
    keys = {"3", "20", "49", "unknown"}
    found = read_keys(settings.home, source, "2013-01", "month", ["id", "x"], "id", keys)
    assert found.to_dict("list") == {"id": [3, 20, 49], "x": [1.5, 10.0, 24.5]}
    assert read_keys(settings.home, source, "2013-01", "month", ["id", "x"], "id", set()).empty
    assert window_exists(settings.home, source, "2013-01", "month")
    with pytest.raises(DataError, match=r"lacks the column\(s\) y \(found: id, x, other\)"):
        read_keys(settings.home, source, "2013-01", "month", ["id", "y"], "id", keys)


def test_the_lake_is_below_home(land: Any, settings: Settings) -> None:
    assert settings.lake.name == "lake"
