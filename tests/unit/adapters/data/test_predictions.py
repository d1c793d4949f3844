"""Gathering the prediction log: every logged row exactly once, whatever is killed, torn or broken."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.adapters.data import gathering
from include.adapters.data.counting import count_window
from include.adapters.data.gathering import gather
from include.adapters.data.logged_requests import newest_requests
from include.adapters.data.predictions import PREDICTION_COLUMNS, gathered_rows, read_predictions
from include.adapters.data.samples import window_sample
from include.core.errors import DataError
from include.core.spec import ModelSpec
from include.core.windows import in_grain
from tests.support.specs import columns, spec_values
from tests.unit.adapters.data.logged_place import MODEL, SPEC, Place, request

ROOT = Path(__file__).resolve().parents[5]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_requests_become_rows_in_the_window_of_their_event(place: Place) -> None:
    place.segment("a", request(1) + request(2, month=6))
    found = place.gather()
    assert (found.rows, found.segments, dict(found.windows)) == (4, 1, {"2013-05": 2, "2013-06": 2})
    written = pd.read_parquet(place.lake / "predictions" / "late" / "2013-05" / "a-0.parquet")
    assert written.release.tolist() == ["production@7"] * 2
    read = read_predictions(MODEL, "2013-05", place.lake)
    assert list(read.frame.columns) == PREDICTION_COLUMNS, "features are read when they are asked for"
    first = read.frame.iloc[0]
    assert (first.request_id, first.row, first.version) == ("r1", 0, "3")
    assert first.event_time == pd.Timestamp("2013-05-17 08:00")
    assert read.feature("origin").isna().tolist() == read.feature("night").isna().tolist() == [False, True]
    assert read.feature("distance").tolist() == [100.5, 100.5]
    assert gathered_rows("late", place.lake, "month") == {"2013-05": 2, "2013-06": 2}


def test_gathering_again_takes_only_what_is_new(place: Place) -> None:
    place.segment("a", request(1))
    place.gather()
    assert place.gather().rows == 0
    place.segment("a", request(2))
    assert place.gather().rows == 2
    assert place.keys() == ["1-0", "1-1", "2-0", "2-1"]


def test_a_torn_last_line_is_counted_left_and_taken_once_it_is_whole(place: Place) -> None:
    line = request(2)
    place.segment("a", request(1) + line[:40])
    found = place.gather()
    assert (found.rows, found.truncated_lines) == (2, 1)
    assert place.gather().truncated_lines == 1
    place.segment("a", line[40:])
    assert (place.gather().rows, place.gather().truncated_lines) == (2, 0)
    assert place.keys() == ["1-0", "1-1", "2-0", "2-1"]


@pytest.mark.parametrize(
    "broken",
    [
        "{half a line\n",
        "\n",
        "[1, 2]\n",
        "[" * 200_000 + "\n",
        '{"version": ' * 50_000 + "\n",
        '{"request_id": "x"}\n',
        request(8, predictions=[0.1]),
        request(8, predictions=[0.1, float("nan")]),
        request(8, event_times=["yesterday", "today"]),
        request(8, event_times=["2013-05-17T08:00:00", "0001-01-01T00:00:00"]),
        request(8, event_times=["2013-05-17T08:00:00", "9999-12-31T23:59:59"]),
        request(8, features={"distance": [1.0]}),
    ],
)
def test_a_broken_line_in_the_middle_is_counted_and_skipped(place: Place, broken: Any) -> None:
    place.segment("a", request(1) + broken + request(2))
    found = place.gather()
    assert (found.rows, found.malformed_lines) == (4, 1)
    assert place.keys() == ["1-0", "1-1", "2-0", "2-1"]


def test_what_a_server_did_not_write_is_left_out_and_holds_up_no_other(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model's code could hang monitoring with a pipe, or have another model's log taken for its own."""
    other = place.log.parent / "other.jsonl"
    other.write_text(request(9))
    os.mkfifo(place.log / "a-pipe.jsonl")
    (place.log / "a-link.jsonl").symlink_to(other)
    (place.log / "a-folder.jsonl").mkdir()
    with socket.socket(socket.AF_UNIX) as unix:
        monkeypatch.chdir(place.log)  # the path of a socket must be short
        unix.bind("a-socket.jsonl")
    monkeypatch.setattr(gathering, "MAX_LINE_BYTES", 1_000_000)
    monkeypatch.setattr(gathering, "CHUNK_BYTES", 300_000)
    with place.segment("an-endless-line", request(3)).open("ab") as file:
        file.truncate(2_000_000)  # zeros, without an end of line
    place.segment("honest", request(1))
    assert place.gather().rows == 4
    assert place.keys() == ["1-0", "1-1", "3-0", "3-1"]
    names = ("a-pipe", "a-link", "a-folder", "a-socket", "an-endless-line")
    assert all(f"{name}.jsonl was left out" in caplog.text for name in names)
    assert [entry.predictions for entry in newest_requests(place.log, "3", 9, 99)] == [[0.25, 0.25]] * 2


def test_a_row_in_two_logs_is_read_once_with_the_later_answer(place: Place) -> None:
    place.segment("a", request(1, version="3"))
    place.segment("b", request(1, version="4", received=5000.0))
    place.gather()
    read = read_predictions(MODEL, "2013-05", place.lake)
    assert (len(read.frame), read.duplicates, set(read.frame.version)) == (2, 2, {"4"})


def test_features_stand_beside_their_rows_whatever_the_order_of_parts_and_repeats(place: Place) -> None:
    """Rows are put in the order of their arrival and repeats are dropped; a feature must follow."""

    def odd(number: int, received: float) -> str:
        features = {"distance": [float(number), number + 0.5], "origin": [f"o{number}", None]}
        return request(number, features=features, received=received)

    place.segment("a", "".join(odd(n, 9000.0 - n) for n in range(20)))
    place.segment("b", "".join(odd(n, 100.0 * n) for n in range(10, 30)))
    place.gather()
    read = read_predictions(MODEL, "2013-05", place.lake)
    number = read.frame.key.str.split("-").str[0].astype(float)
    assert (len(read.frame), read.duplicates) == (60, 20)
    assert read.feature("distance").tolist() == (number + read.frame.row / 2).tolist()
    origins = read.feature("origin")
    assert origins[read.frame.row == 0].tolist() == [f"o{n:.0f}" for n in number[read.frame.row == 0]]
    assert origins[read.frame.row == 1].isna().all()
    some = np.array([3, 7, 40])
    assert read.feature("distance", some).tolist() == read.feature("distance")[some].tolist()


def test_a_part_that_was_written_again_meanwhile_is_an_error_and_not_other_rows(place: Place) -> None:
    place.segment("a", request(1))
    place.gather()
    read = read_predictions(MODEL, "2013-05", place.lake)
    (path,) = read.files
    pd.read_parquet(path).iloc[:1].to_parquet(path)
    with pytest.raises(DataError, match=r"a-0.parquet changed while its window .* Run measure_health again"):
        read.feature("distance")


def test_a_feature_that_an_older_version_did_not_log_is_missing(place: Place) -> None:
    place.segment("a", request(1, features={"distance": [1.0, 2.0], "gone": [1, 2]}))
    place.gather()
    assert read_predictions(MODEL, "2013-05", place.lake).feature("origin").isna().all()


def test_a_feature_that_the_spec_has_since_is_missing_in_parts_from_before(place: Place) -> None:
    place.segment("a", request(1))
    place.gather()
    features = [*SPEC["features"], {"name": "new", "type": "number"}]
    spec = ModelSpec.model_validate(SPEC | {"features": features})
    place.segment("b", request(2, features={"distance": [1.0, 2.0], "new": [3.0, 4.0]}))
    gather(spec, place.store, place.log, place.lake)
    read = read_predictions(spec, "2013-05", place.lake)
    assert read.feature("new").fillna(0).tolist() == [0, 0, 3, 4]


def test_times_with_an_offset_are_taken_as_utc(place: Place) -> None:
    place.segment("a", request(1, event_times=["2013-05-31T23:30:00-04:00", "2013-06-01T01:00:00+02:00"]))
    assert dict(place.gather().windows) == {"2013-06": 1, "2013-05": 1}


def test_a_large_segment_is_gathered_in_parts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "CHUNK_BYTES", 1000)
    place.segment("a", "".join(request(n) for n in range(50)))
    place.gather()
    assert len(list((place.lake / "predictions" / "late" / "2013-05").glob("*.parquet"))) > 5
    assert len(place.keys()) == 100


def test_a_window_that_nothing_was_predicted_in_is_an_empty_frame(place: Place) -> None:
    read = read_predictions(MODEL, "2013-05", place.lake)
    assert (len(read.frame), read.duplicates, read.files) == (0, 0, {})
    assert len(read.feature("distance")) == 0
    assert place.gather().rows == 0


KILLED = """
    import json, os, signal, sys
    from pathlib import Path
    from include.adapters.data import gathering
    from include.adapters.store import Store
    from include.core.spec import ModelSpec

    spec, url, log, lake, moment = sys.argv[1:]
    def die(*arguments, **named):
        os.kill(os.getpid(), signal.SIGKILL)
    gathering.CHUNK_BYTES = 1500
    store, write, calls = Store(url), gathering.write_atomically, []
    def die_at_third(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            die()
        return write(*arguments)
    if moment == "before the position moves":
        store.set_log_position = die
    elif moment == "between two files":
        gathering.write_atomically = die_at_third
    else:
        os.replace = die
    gathering.gather(ModelSpec.model_validate(json.loads(spec)), store, Path(log), Path(lake))
"""


@pytest.mark.integration
@pytest.mark.parametrize("moment", ["before the position moves", "between two files", "before the rename"])
def test_kill_9_in_the_middle_then_a_retry_gives_the_same_rows(place: Place, moment: str) -> None:
    text = "".join(request(n, month=5 + n % 2) for n in range(40))
    place.segment("a", text)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), json.dumps(SPEC), place.url]
    killed = subprocess.run([*command, str(place.log), str(place.lake), moment], cwd=ROOT, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    place.segment("a", request(40, month=5))  # the log goes on meanwhile
    place.gather()
    assert place.keys("2013-05") == sorted(f"{n}-{row}" for n in range(0, 42, 2) for row in (0, 1))
    assert place.keys("2013-06") == sorted(f"{n}-{row}" for n in range(1, 40, 2) for row in (0, 1))
    assert place.gather().rows == 0


def test_lines_are_read_by_the_specification_of_the_version_that_wrote_them(place: Place) -> None:
    """Today 'distance' is a category and 'night' is gone; version 3 was made before."""
    today = ModelSpec.model_validate(spec_values(features=columns(distance="category", rain="number")))
    place.segment("3-1", request(1))
    place.segment("4-1", request(2, version="4", features={"distance": ["far"] * 2, "rain": [1.5] * 2}))
    specs = {"3": MODEL, "4": today}
    found = gather(today, place.store, place.log, place.lake, specs.__getitem__)
    assert (found.rows, found.malformed_lines) == (4, 0)

    both = read_predictions(today, "2013-05", place.lake)
    assert both.frame.version.tolist() == ["3", "3", "4", "4"]
    assert both.feature("distance").tolist()[2:] == ["far", "far"]
    assert both.feature("distance").isna().tolist() == [True, True, False, False]
    assert replace(both, spec=MODEL).feature("distance").tolist()[:2] == [100.5, 100.5]
    assert replace(both, spec=MODEL).feature("night").isna().tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("before", "after"), [("day", "month"), ("month", "day"), ("week", "month"), ("month", "week")]
)
def test_rows_are_found_again_after_the_length_of_windows_has_changed(place: Place, before: Any, after: Any) -> None:
    def of(grain: str) -> ModelSpec:
        return ModelSpec.model_validate(SPEC | {"monitoring": {"window": grain}})

    days = ["2013-05-01", "2013-05-17", "2013-05-31", "2013-06-01"]
    for number, day in enumerate(days):
        place.segment(f"3-{number}", request(number, rows=1, event_times=[f"{day}T08:00:00Z"]))
    gather(of(before), place.store, place.log, place.lake)
    place.segment("3-9", request(9, rows=1, event_times=["2013-05-17T20:00:00Z"]))
    gather(of(after), place.store, place.log, place.lake)

    expected: dict[str, int] = {}
    for day in [*days, "2013-05-17"]:
        window = in_grain(day, after)
        expected[window] = expected.get(window, 0) + 1
    assert gathered_rows("late", place.lake, after) == dict(sorted(expected.items()))
    for window, rows in expected.items():
        read = read_predictions(of(after), window, place.lake)
        assert len(read.frame) == len(read.feature("distance").dropna()) == rows, window
        count = count_window(of(after), window, "3", None, files=read.files, lake=place.lake)
        assert count.rows == rows
        assert window_sample(of(after), window, "3", lake=place.lake).drawn_from == rows
