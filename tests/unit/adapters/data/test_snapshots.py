"""Snapshots: the same data has the same hash, and data that can't be taken is refused with what to do."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from include.adapters.data.snapshots import load_snapshot, read_snapshot, take_snapshot
from include.core.errors import DataError
from include.core.spec import ModelSpec
from include.settings import Settings
from tests.unit.adapters.data.flights_data import flights_of


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


def test_an_empty_older_partition_is_left_out(spec: ModelSpec, land: Any, settings: Settings) -> None:
    land("2013-01", flights_of("2013-01").iloc[:0])
    land("2013-02")
    assert list(take_snapshot(settings, spec, None).partitions) == ["2013-02"]


def test_a_missing_column_is_named(spec: ModelSpec, land: Any, settings: Settings) -> None:
    land("2013-01", flights_of("2013-01").drop(columns="distance"))
    with pytest.raises(DataError, match=r"lacks the columns distance"):
        take_snapshot(settings, spec, None)


def test_a_file_that_is_not_parquet_is_refused(spec: ModelSpec, land: Any, tmp_path: Path, settings: Settings) -> None:
    land("2013-01")
    (tmp_path / "lake" / "flights" / "training" / "2013-01.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="can't be read"):
        take_snapshot(settings, spec, None)


def test_rows_of_another_window_are_refused(spec: ModelSpec, land: Any, settings: Settings) -> None:
    land("2013-01", flights_of("2013-02"))
    with pytest.raises(DataError, match="outside it"):
        take_snapshot(settings, spec, None)


def test_a_window_that_is_no_window_is_refused(spec: ModelSpec, land: Any, settings: Settings) -> None:
    with pytest.raises(DataError, match="is not a month"):
        take_snapshot(settings, spec, "May")
