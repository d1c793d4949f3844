"""Data sources: files of windows, listings that are cached, and SQL through a connection."""

import json
import sqlite3
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pytest

from include.adapters.data import sources
from include.adapters.data.sources import known_windows, read_keys, read_window, window_exists
from include.core.errors import DataError
from include.core.spec import FileSource, SqlSource
from include.settings import Settings
from tests.unit.adapters.data.flights_data import flights_of


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
    with pytest.raises(DataError, match=r"lacks the columns y \(present: id, x, other\)"):
        read_keys(settings.home, source, "2013-01", "month", ["id", "y"], "id", keys)


def test_the_lake_is_below_home(land: Any, settings: Settings) -> None:
    assert settings.lake.name == "lake"
