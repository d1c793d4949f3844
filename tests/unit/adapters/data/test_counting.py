"""Counting Parquet gives the counts of its rows, reads every file once, and knows when a file is another one."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.adapters.data import counting
from include.adapters.data.counting import count_parquet, count_window
from include.core.drift.counts import WindowCount, count_frame
from include.core.drift.profile import build_profile
from include.core.errors import DataError
from tests.unit.core.monitored_rides import ride_spec, rides

SPEC = ride_spec()
REFERENCE = rides()
PROFILE = build_profile(REFERENCE, SPEC, REFERENCE.prediction)


def odd_rows(seed: int = 1, count: int = 1000) -> pd.DataFrame:
    frame = rides(count, seed).assign(version=np.where(np.arange(count) % 10 < 7, "1", "2"))
    frame.loc[::5, "distance"] = np.nan
    frame.loc[::7, "distance"] = np.inf
    frame.loc[::9, "zone"] = None
    frame.loc[::11, "zone"] = "elsewhere"
    return frame


def write(frame: pd.DataFrame, path: Any, rows: int = 300) -> None:
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=rows)


@pytest.fixture
def lake(tmp_path: Path) -> Any:
    folder = tmp_path / "predictions" / "taxi" / "2013-05"
    folder.mkdir(parents=True)
    for number in range(3):
        write(odd_rows(number), folder / f"segment-{number}.parquet")
    return tmp_path


def file_of(lake: Any, number: int) -> Any:
    return lake / "predictions" / "taxi" / "2013-05" / f"segment-{number}.parquet"


@pytest.mark.parametrize("rows_in_a_group", [7, 300, 5000])
def test_a_file_counts_as_its_rows_do_whatever_its_row_groups(tmp_path: Path, rows_in_a_group: int) -> None:
    write(odd_rows(), tmp_path / "rows.parquet", rows_in_a_group)
    assert count_parquet(tmp_path / "rows.parquet", SPEC, PROFILE) == count_frame(odd_rows(), PROFILE, SPEC)


def test_only_the_rows_of_a_version_count_when_it_is_named(tmp_path: Path) -> None:
    frame = odd_rows()
    write(frame, tmp_path / "rows.parquet")
    counted = count_parquet(tmp_path / "rows.parquet", SPEC, PROFILE, version="2")
    assert counted == count_frame(frame[frame.version == "2"], PROFILE, SPEC)
    assert count_parquet(tmp_path / "rows.parquet", SPEC, PROFILE, version="never released").rows == 0


def test_types_other_than_the_logs_are_counted_too(tmp_path: Path) -> None:
    frame = odd_rows().assign(
        distance=lambda f: f.distance.map(str),
        hour=lambda f: f.hour.astype("int8"),
        zone=lambda f: f.zone.astype("category"),
        shared=lambda f: f.shared.astype(int),
    )
    write(frame, tmp_path / "rows.parquet")
    counted, expected = (count_parquet(tmp_path / "rows.parquet", SPEC, PROFILE), count_frame(frame, PROFILE, SPEC))
    assert counted == expected


def test_a_column_that_a_file_lacks_counts_as_missing(tmp_path: Path) -> None:
    write(odd_rows().drop(columns="distance"), tmp_path / "rows.parquet")
    column = count_parquet(tmp_path / "rows.parquet", SPEC, PROFILE).columns["distance"]
    assert (column.missing, column.rows) == (1000, 1000)


def test_object_storage_is_read_through_its_open_file() -> None:
    buffer = io.BytesIO()
    write(odd_rows(), buffer)
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/counting/rows.parquet", buffer.getvalue())
    with filesystem.open("/counting/rows.parquet") as file:
        assert count_parquet(file, SPEC, PROFILE) == count_frame(odd_rows(), PROFILE, SPEC)


def test_a_window_is_the_sum_of_its_parts_and_tells_how_far_it_is(lake: Any) -> None:
    told = []
    counted = count_window(
        SPEC, "2013-05", "1", PROFILE, lake=lake, progress=lambda done, whole: told.append(done / whole)
    )
    whole = pd.concat([odd_rows(number) for number in range(3)])
    assert counted == count_frame(whole[whole.version == "1"], PROFILE, SPEC)
    assert len(told) == 3
    assert told == sorted(told)
    assert told[-1] == 1


def noting(read: list[Path]) -> Callable[..., Any]:
    """``count_parquet``, which also notes what it reads."""
    count = counting.count_parquet

    def counted(path: Path, *rest: Any, **more: Any) -> Any:
        read.append(path)
        return count(path, *rest, **more)

    return counted


def test_what_was_counted_is_not_read_again_and_new_parts_are(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(counting, "count_parquet", noting(read))
    first = count_window(SPEC, "2013-05", "1", PROFILE, lake=lake)
    assert count_window(SPEC, "2013-05", "1", PROFILE, lake=lake) == first
    assert read == [file_of(lake, number) for number in range(3)]
    write(odd_rows(7), file_of(lake, 7))
    assert count_window(SPEC, "2013-05", "1", PROFILE, lake=lake).rows == first.rows + 700
    assert read[3:] == [file_of(lake, 7)]


def test_only_parts_of_which_rows_are_left_out_are_read_again(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row in two logs counts once; the files that it does not touch are not opened for it."""
    count_window(SPEC, "2013-05", "1", PROFILE, lake=lake)
    read: list[Path] = []
    monkeypatch.setattr(counting, "count_parquet", noting(read))
    random = np.random.default_rng(0)
    rows = {file_of(lake, n): np.ones(1000, dtype=bool) if n else random.random(1000) < 0.6 for n in range(3)}
    counted = count_window(SPEC, "2013-05", "1", PROFILE, files=rows, lake=lake)
    whole = pd.concat([odd_rows(n)[rows[file_of(lake, n)]] for n in range(3)])
    assert counted == count_frame(whole[whole.version == "1"], PROFILE, SPEC)
    assert read == [file_of(lake, 0)]
    rows[file_of(lake, 0)] = rows[file_of(lake, 0)][:900]
    with pytest.raises(DataError, match=r"segment-0.parquet changed while its window .* Run measure_health again"):
        count_window(SPEC, "2013-05", "1", PROFILE, files=rows, lake=lake)


def test_parts_that_came_since_the_predictions_were_read_wait_for_the_next_measuring(lake: Any) -> None:
    rows = {file_of(lake, n): np.ones(1000, dtype=bool) for n in range(2)}
    assert count_window(SPEC, "2013-05", "1", PROFILE, files=rows, lake=lake).rows == 1400


def test_a_part_that_was_written_again_and_another_reference_are_counted_anew(lake: Any) -> None:
    before = count_window(SPEC, "2013-05", "1", PROFILE, lake=lake)
    write(odd_rows(0, 2000), file_of(lake, 0))
    assert count_window(SPEC, "2013-05", "1", PROFILE, lake=lake).rows == before.rows + 700
    other = build_profile(REFERENCE[:100], SPEC, REFERENCE.prediction)
    assert count_window(SPEC, "2013-05", "1", other, lake=lake).columns != before.columns


def test_a_window_without_parts_counts_nothing(tmp_path: Path) -> None:
    assert count_window(SPEC, "2013-05", "1", PROFILE, lake=tmp_path) == WindowCount()


def test_a_torn_part_is_named_with_the_remedy(lake: Any) -> None:
    file_of(lake, 1).write_bytes(file_of(lake, 1).read_bytes()[:500])
    with pytest.raises(DataError, match=r"segment-1.parquet: can't be counted .* Remove the file"):
        count_window(SPEC, "2013-05", "1", PROFILE, lake=lake)


def test_a_count_that_was_torn_by_a_crash_is_made_again(lake: Any) -> None:
    before = count_window(SPEC, "2013-05", "1", PROFILE, lake=lake)
    kept = next((lake / "predictions" / "taxi" / "2013-05" / ".counted").iterdir())
    kept.write_text("{")
    assert count_window(SPEC, "2013-05", "1", PROFILE, lake=lake) == before


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one_row_are_counted(tmp_path: Path, rows: int) -> None:
    write(rides(rows), tmp_path / "rows.parquet")
    assert count_parquet(tmp_path / "rows.parquet", SPEC, PROFILE).rows == rows
