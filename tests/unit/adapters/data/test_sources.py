"""Data sources: files of windows, listings that are cached, and SQL through a connection."""

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.adapters.data import sources
from include.adapters.data.sources import read_keys, read_window, window_exists
from include.core.errors import DataError, EvergreenError
from include.core.spec import FileSource, SqlSource
from include.settings import Settings
from tests.unit.adapters.data.flights_data import flights_of


def test_csv_partitions_are_read_too(land: Any, tmp_path: Path, settings: Settings) -> None:
    source = FileSource(path="csv/{window}.csv")
    (tmp_path / "lake" / "csv").mkdir(parents=True)
    flights_of("2013-01", rows=5).to_csv(tmp_path / "lake" / "csv" / "2013-01.csv", index=False)
    assert window_exists(settings.home, source, "2013-01", "month")
    assert len(read_window(settings.home, source, "2013-01", "month", {"late": "target"})) == 5


def test_data_can_come_from_sql_through_a_connection(
    land: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "source.db") as database:
        database.execute("create table flights (id text, at text)")
        database.executemany("insert into flights values (?, ?)", [("a", "2013-01-05"), ("b", "2013-02-05")])
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", f'{{"conn_type": "sqlite", "host": "{tmp_path / "source.db"}"}}')
    source = SqlSource(connection="warehouse", query="select id, at from flights where at >= :start and at < :end")
    assert read_window(settings.home, source, "2013-02", "month", {"id": "key", "at": "time"})["id"].tolist() == ["b"]
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
    found = read_keys(settings.home, source, "2013-01", "month", {"id": "key", "x": "number"}, "id", keys)
    assert found.to_dict("list") == {"id": ["3", "20", "49"], "x": [1.5, 10.0, 24.5]}
    assert read_keys(settings.home, source, "2013-01", "month", {"id": "key", "x": "number"}, "id", set()).empty
    assert window_exists(settings.home, source, "2013-01", "month")
    with pytest.raises(DataError, match=r"lacks the columns y \(present: id, x, other\)"):
        read_keys(settings.home, source, "2013-01", "month", {"id": "key", "y": "number"}, "id", keys)


def test_the_lake_is_below_home(land: Any, settings: Settings) -> None:
    assert settings.lake.name == "lake"


CSV = b"id,zip\n1,00501\n2,02134\n"
BROKEN: dict[str, tuple[str, bytes | None]] = {
    "half of an archive": ("csv.gz", gzip.compress(CSV * 9999)[:200]),
    "text that is called an archive": ("csv.gz", CSV),
    "an archive that is called text": ("csv", gzip.compress(CSV)),
    "a folder": ("csv", None),
    "a folder that is called Parquet": ("parquet", None),
    "nothing": ("csv", b""),
    "nothing that is called Parquet": ("parquet", b""),
    "text that is called Parquet": ("parquet", CSV),
    "a row with a field too many": ("csv", CSV + b"3,4,5\n"),
    "a row that was cut off": ("csv", CSV + b"3"),
    "another encoding": ("csv", "id,zip\n1,é\n".encode("latin-1")),
    "two bytes a character": ("csv", CSV.decode().encode("utf-16")),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_partition_that_can_not_be_read_is_named_with_the_reason(
    land: Any, tmp_path: Path, settings: Settings, what: str
) -> None:
    kind, content = BROKEN[what]
    path = tmp_path / "lake" / f"2013-01.{kind}"
    path.parent.mkdir()
    path.mkdir() if content is None else path.write_bytes(content)
    source = FileSource(path=f"{{window}}.{kind}")
    kinds: Any = {"id": "key", "zip": "category"}
    named = rf"partition 2013-01\.{kind} \(evergreen_lake\) .*\. [A-Z].*\."
    with pytest.raises(DataError, match=named):
        read_window(settings.home, source, "2013-01", "month", kinds)
    with pytest.raises(DataError, match=named):
        read_keys(settings.home, source, "2013-01", "month", kinds, "id", {"1"})


def test_a_damaged_page_of_parquet_is_an_error_of_that_partition(land: Any, tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "lake" / "2013-01.parquet"
    path.parent.mkdir()
    pd.DataFrame({"id": [f"key-{n}" for n in range(5000)]}).to_parquet(path)
    content = bytearray(path.read_bytes())
    content[100:2000] = bytes(1900)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"partition 2013-01\.parquet .*can't be read"):
        read_window(settings.home, FileSource(path="{window}.parquet"), "2013-01", "month", {"id": "key"})


def test_csv_is_what_it_says_and_only_the_empty_field_is_missing(land: Any, tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "lake" / "2013-01.csv"
    path.parent.mkdir()
    rows = ["1,00501,NA", "2,SW1A,", '3,"02,134",null', "1234567890123456789,00501,-"]
    path.write_text("\ufeffid,zip,country\r\n" + "\r\n".join(rows) + "\r\n", encoding="utf-8", newline="")
    kinds: Any = {"id": "key", "zip": "category", "country": "category"}
    read = read_window(settings.home, FileSource(path="{window}.csv"), "2013-01", "month", kinds)
    assert read["id"].tolist() == ["1", "2", "3", "1234567890123456789"]
    assert read["zip"].tolist() == ["00501", "SW1A", "02,134", "00501"]
    assert read["country"].isna().tolist() == [False, True, False, False]
    source = FileSource(path="{window}.csv", na_values=["null", "-"])
    read = read_window(settings.home, source, "2013-01", "month", kinds)
    assert read["country"].isna().tolist() == [False, True, True, True]


def test_csv_may_have_another_delimiter_and_encoding(land: Any, tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "lake" / "2013-01.csv.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress("id;zone\n1;Köln\n".encode("latin-1")))
    source = FileSource(path="{window}.csv.gz", delimiter=";", encoding="latin-1")
    read = read_window(settings.home, source, "2013-01", "month", {"id": "key", "zone": "category"})
    assert read["zone"].tolist() == ["Köln"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"path": "{window}.parquet", "delimiter": ";"}, "only for CSV"),
        ({"path": "{window}.csv", "encoding": "utf-99"}, "is not known"),
        ({"path": "{window}.csv", "delimiter": ";;"}, "at most 1 character"),
    ],
)
def test_a_source_that_can_not_be_is_refused(given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FileSource(**given)


@pytest.mark.parametrize("kind", ["parquet", "csv", "sql"])
def test_keys_of_19_digits_beside_a_missing_one_stay_exact(
    land: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, kind: str
) -> None:
    keys = [1234567890123456789, None, 1234567890123456788]
    (tmp_path / "lake").mkdir()
    source: FileSource | SqlSource = FileSource(path=f"{{window}}.{kind if kind != 'sql' else 'csv'}")
    if kind == "parquet":
        pq.write_table(pa.table({"id": pa.array(keys, pa.int64())}), tmp_path / "lake" / "2013-01.parquet")
    elif kind == "csv":
        (tmp_path / "lake" / "2013-01.csv").write_text("id,x\n" + "".join(f"{key or ''},1\n" for key in keys))
    else:
        with closing(sqlite3.connect(tmp_path / "source.db")) as connection, connection:
            connection.execute("CREATE TABLE truth (id INTEGER)")
            connection.executemany("INSERT INTO truth VALUES (?)", [(key,) for key in keys])
        monkeypatch.setenv("AIRFLOW_CONN_W", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "source.db")}))
        source = SqlSource(query="SELECT id FROM truth WHERE :start < :end", connection="w")
    read = read_window(settings.home, source, "2013-01", "month", {"id": "key"})["id"]
    assert read.dropna().tolist() == ["1234567890123456789", "1234567890123456788"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT id FROM gone WHERE :start < :end", "no such table"),
        ("SELECT FROM :start < :end", "syntax error"),
    ],
)
def test_an_error_of_the_database_is_named_without_the_statement(
    land: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, query: str, words: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_W", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "source.db")}))
    source = SqlSource(query=query, connection="w")
    with pytest.raises(EvergreenError, match=rf"window 2013-01 of the query on 'w' failed: .*{words}") as raised:
        read_window(settings.home, source, "2013-01", "month", {"id": "key"})
    assert "SELECT" not in str(raised.value)
