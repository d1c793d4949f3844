"""Finding a logged request: by either id, in the lake or not gathered yet, of this release or of an earlier one."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.adapters.data import gathering
from include.adapters.data.predictions import read_predictions
from include.adapters.data.request_search import Search, count_gathered, count_ungathered, find_requests
from tests.unit.adapters.data.logged_place import MODEL, Place, request


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def find(place: Place, wanted: str) -> Search:
    return find_requests("late", wanted, place.store, place.log, place.lake)


def with_own(number: int, own: str, **changes: Any) -> str:
    return request(number, server_request_id=own, **changes)


def as_in_an_earlier_release(path: Path) -> None:
    """Leave the file as gathering wrote it before there were server ids."""
    pq.write_table(pq.read_table(path).drop_columns(["server_request_id"]), path)


@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize("wanted", ["r1", "own-1"])
def test_a_request_is_found_by_either_id_gathered_or_not(place: Place, gathered: bool, wanted: str) -> None:
    place.segment("a", with_own(0, "own-0") + with_own(1, "own-1") + with_own(2, "own-2"))
    if gathered:
        place.gather()
    (found,) = find(place, wanted).found
    assert (found.request_id, found.server_request_id, found.gathered) == ("r1", "own-1", gathered)
    assert (found.version, found.release, found.received) == ("3", "production@7", 1001.0)
    assert (found.keys, found.predictions) == (("1-0", "1-1"), (0.25, 0.25))
    assert [time.isoformat() for time in found.event_times] == ["2013-05-17T08:00:00"] * 2
    assert found.place.startswith("predictions/late/2013-05/a-0.parquet" if gathered else "late/a.jsonl, byte ")


def test_each_row_of_a_request_is_found_though_its_windows_differ(place: Place) -> None:
    times = ["2013-05-31T23:00:00", "2013-06-01T01:00:00"]
    place.segment("a", with_own(1, "own-1", event_times=times))
    place.gather()
    (found,) = find(place, "r1").found
    assert [time.isoformat() for time in found.event_times] == times
    assert found.place == "predictions/late/2013-05/a-0.parquet, predictions/late/2013-06/a-0.parquet"


def test_requests_of_earlier_releases_are_found_and_counted_with_those_of_this_one(place: Place) -> None:
    place.segment("old", request(1) + request(2))
    place.gather()
    as_in_an_earlier_release(place.lake / "predictions" / "late" / "2013-05" / "old-0.parquet")
    place.segment("old", request(3))
    place.segment("new", with_own(4, "own-4") + with_own(4, "own-5", received=1005.0))
    place.gather()
    place.segment("old", request(5))
    for number, gathered in ((1, True), (3, True), (5, False)):
        (found,) = find(place, f"r{number}").found
        assert (found.server_request_id, found.gathered) == ("", gathered)
    counted = read_predictions(MODEL, "2013-05", place.lake)
    assert len(counted.frame) == 8, "a retry under the same id counts once, though the server gave it two ids"
    assert counted.duplicates == 2
    assert counted.feature("distance").tolist() == [100.5] * 8


def test_a_reused_id_finds_all_its_requests_oldest_first(place: Place) -> None:
    place.segment("a", with_own(1, "own-2", received=2000.0))
    place.gather()
    place.segment("b", with_own(1, "own-1", received=1000.0, keys=["x", "y"]))
    assert [found.server_request_id for found in find(place, "r1").found] == ["own-1", "own-2"]


def test_what_is_gathered_during_the_search_is_found_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.segment("a", with_own(1, "own-1"))
    from include.adapters.data import request_search

    search_log = request_search._search_log

    def then_gather(*arguments: Any) -> None:
        search_log(*arguments)
        place.gather()

    monkeypatch.setattr(request_search, "_search_log", then_gather)
    (found,) = find(place, "own-1").found
    assert found.gathered


@pytest.mark.parametrize("name", ['"quoted"', "ünïcode \n line", "back\\slash", "\U0001f680"])
def test_an_id_of_any_characters_is_found(place: Place, name: str) -> None:
    place.segment("a", request(1, request_id=name) + request(2))
    assert [found.request_id for found in find(place, name).found] == [name]


def test_a_value_that_looks_like_the_id_is_not_taken_for_it(place: Place) -> None:
    place.segment("a", request(1, keys=["wanted", "x"]) + "{broken wanted}\n" + '{"request_id": "wanted"}\n')
    assert find(place, "wanted").found == []


def test_lines_are_found_across_the_blocks_in_which_a_segment_is_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "CHUNK_BYTES", 300)
    lines = [request(number) for number in range(20)]
    place.segment("a", "".join(lines) + lines[0][:50])
    for number in (0, 7, 19):
        (found,) = find(place, f"r{number}").found
        assert found.place == f"late/a.jsonl, byte {sum(map(len, lines[:number]))}"


def test_a_file_that_can_not_be_read_is_named_and_holds_up_no_other(place: Place) -> None:
    place.segment("a", request(1))
    place.segment("b", request(2))
    place.gather()
    (place.lake / "predictions" / "late" / "2013-05" / "a-0.parquet").write_bytes(b"damaged")
    (place.log / "c.jsonl").symlink_to(place.log / "b.jsonl")
    search = find(place, "r2")
    assert [found.request_id for found in search.found] == ["r2"]
    assert search.unreadable == ["late/c.jsonl", "predictions/late/2013-05/a-0.parquet"]


def test_only_files_whose_range_of_ids_has_it_are_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        lines = [with_own(10 * number + n, f"0{number}-{n}", request_id=f"client-{n}") for n in range(3)]
        place.segment(f"s{number}", "".join(lines))
    place.gather()
    read, whole = [], pq.ParquetFile.read

    def count(file: Any, *arguments: Any, **named: Any) -> pa.Table:
        read.append(file)
        return whole(file, *arguments, **named)

    monkeypatch.setattr(pq.ParquetFile, "read", count)
    assert len(find(place, "01-1").found) == 1
    assert len({id(file) for file in read}) == 1


def test_predictions_are_counted_by_version(place: Place) -> None:
    place.segment("a", request(1) + request(2, month=6))
    place.segment("b", request(3, version="4"))
    place.gather()
    assert count_gathered("late", "2013-05", place.lake) == {"3": 2, "4": 2}
    assert count_ungathered("late", place.store, place.log) == {}
    place.segment("b", request(4, version="4") + request(5, version="4") + json.dumps({"torn": 1}))
    assert count_ungathered("late", place.store, place.log) == {"4": 2}
