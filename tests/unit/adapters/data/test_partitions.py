"""Which windows of training data exist, in files and in a query's result."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from include.adapters.data.partitions import end_of, newest_window, partition_states
from include.core.errors import DataError, EvergreenError, PlatformError
from include.core.spec import Data, FileSource, SqlSource
from include.core.windows import Grain
from include.settings import Settings

NOW = datetime(2013, 5, 17)


def files(path: str, connection: str = "web") -> Data:
    return Data(source=FileSource(path=path, connection=connection), key="id", event_time="at")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lake, in a folder whose name has characters that mean something in patterns."""
    folder = tmp_path / "la[k]e*"
    monkeypatch.setenv("AIRFLOW_CONN_WEB", json.dumps({"conn_type": "fs", "extra": {"path": str(folder)}}))
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("grain", "windows"), [("month", ["2013-01"]), ("week", ["2013-W05"]), ("day", ["2013-01-31"])], ids=str
)
def test_what_is_no_window_of_the_models_length_is_not_among_them(
    folder: Path, settings: Settings, grain: Grain, windows: list[str]
) -> None:
    names = "2013-01", "2013-W05", "2013-01-31", "tmp-2013-02", ".2013-03", "2013-04 (1)", "2013-13", "2013-W60"
    for name in names:
        (folder / f"{name}.csv").write_text("a\n1\n")
    assert list(partition_states(settings.home, files("{window}.csv"), grain)) == windows
    assert newest_window(settings.home, files("{window}.csv"), grain) == windows[-1]


def test_a_path_may_name_the_window_twice(folder: Path, settings: Settings) -> None:
    for parent, name in (("2013-01", "2013-01"), ("2013-02", "2013-02"), ("2013-02", "2013-03"), ("x", "2013-04")):
        (folder / parent).mkdir(exist_ok=True)
        (folder / parent / f"data-{name}.csv").write_text("a\n1\n")
    states = partition_states(settings.home, files("{window}/data-{window}.csv"), "month")
    assert list(states) == ["2013-01", "2013-02"]


def test_a_partition_that_comes_later_is_seen_where_listings_are_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """As object storage does: the triggerer would list once and then see nothing new for as long as it runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        extra = {"path": f"http://127.0.0.1:{server.server_port}", "use_listings_cache": True}
        monkeypatch.setenv("AIRFLOW_CONN_WEB", json.dumps({"conn_type": "http", "extra": extra}))
        for windows in (["2013-01"], ["2013-01", "2013-02"]):
            (tmp_path / f"{windows[-1]}.csv").write_text("a\n1\n")
            assert list(partition_states(settings.home, files("{window}.csv"), "month")) == windows
        server.shutdown()


def test_without_any_data_the_remedy_is_said(folder: Path, settings: Settings) -> None:
    with pytest.raises(DataError, match=r"partition \{window\}\.csv .*no partition exists yet\. Load data"):
        newest_window(settings.home, files("{window}.csv"), "month")


@pytest.fixture
def insert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Adds rows with these times to the table ``trips`` of the connection ``warehouse``."""
    with closing(sqlite3.connect(tmp_path / "source.db")) as database:
        database.execute('create table trips (id integer primary key, "at" text)')
        monkeypatch.setenv(
            "AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "source.db")})
        )

        def insert(*times: str) -> None:
            database.executemany('insert into trips ("at") values (?)', [(time,) for time in times])
            database.commit()

        yield insert


def query(text: str = 'select id, "at" from trips where "at" >= :start and "at" < :end;') -> Data:
    return Data(source=SqlSource(query=text, connection="warehouse"), key="id", event_time="at")


def test_the_newest_window_of_a_query_is_the_newest_one_that_has_ended(
    insert: Callable[..., None], settings: Settings
) -> None:
    with pytest.raises(DataError, match="query on 'warehouse'.*no partition exists yet"):
        newest_window(settings.home, query(), "month")
    insert("2013-03-05 10:00:00", "2013-04-30 23:59:59", "2013-05-02 00:00:00")
    states = partition_states(settings.home, query(), "month", now=NOW)
    assert list(states) == ["2013-04"], "May has not ended"
    assert newest_window(settings.home, query(), "day") == "2013-05-02"
    assert newest_window(settings.home, query(), "week") == "2013-W18"


def test_later_windows_of_a_query_are_found_across_gaps_and_change_with_their_rows(
    insert: Callable[..., None], settings: Settings
) -> None:
    insert("2012-11-05 10:00:00", "2013-01-31 10:00:00", "2013-04-02 00:00:00", "2013-05-02 00:00:00")
    after = end_of({"2012-10", "2012-11"})
    before = partition_states(settings.home, query(), "month", after, NOW)
    assert list(before) == ["2013-01", "2013-04"]
    insert("2013-04-02 00:00:00")
    changed = partition_states(settings.home, query(), "month", after, NOW)
    assert changed["2013-01"] == before["2013-01"]
    assert changed["2013-04"] != before["2013-04"], "a window that is still being loaded must not count as complete"
    assert partition_states(settings.home, query(), "month", end_of({"2013-04"}), NOW) == {}


def test_the_end_of_windows_of_different_lengths_is_a_time() -> None:
    assert end_of({"2013-W01", "2013-02", "2013-01-31"}) == datetime(2013, 3, 1)
    assert end_of(set()) is None


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("select id, at from trips where at > :end or :start is null or 1", DataError, "both :start and :end"),
        ("select id, 'soon' as at from trips where :start < :end", DataError, "'soon' is not a time.*event_time"),
        ("select id from trips where :start < :end", PlatformError, r"no such column: at.*Check the connection"),
    ],
)
def test_a_query_that_can_not_be_watched_is_named_with_the_remedy(
    insert: Callable[..., None], settings: Settings, text: str, error: type[EvergreenError], message: str
) -> None:
    insert("2013-03-05 10:00:00")
    with pytest.raises(error, match=rf"query on 'warehouse'.*{message}"):
        partition_states(settings.home, query(text), "month", datetime(2013, 4, 1), NOW)
