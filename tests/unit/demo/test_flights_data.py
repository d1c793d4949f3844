"""The demo's data: unique keys, nothing from the future, and each row in its own month."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from demo import flights_data
from include.adapters.spec_file import load_spec
from include.core.windows import window_bounds
from include.settings import PROJECT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("year")


@pytest.fixture(scope="module")
def year(folder: Path) -> Path:
    return flights_data.prepare_year(folder)


@pytest.fixture(scope="module")
def flights(year: Path) -> pd.DataFrame:
    return pd.concat([flights_data.read_month(year, month) for month in flights_data.MONTHS], ignore_index=True)


def test_keys_are_unique_over_the_whole_year(flights: pd.DataFrame) -> None:
    assert not flights["flight_id"].duplicated().any()


def test_columns_are_those_of_the_spec_and_nothing_known_only_after_departure(flights: pd.DataFrame) -> None:
    spec = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
    assert set(flights) == {spec.data.key, spec.data.event_time, spec.target, *spec.feature_names}
    assert not set(flights) & set(flights_data.KNOWN_AFTER_DEPARTURE)


def test_no_single_feature_gives_the_answer_away(flights: pd.DataFrame) -> None:
    numbers = flights.select_dtypes("number").drop(columns="late")
    assert numbers.corrwith(flights["late"]).abs().max() < 0.3


def test_nearly_all_flights_that_arrived_are_there(flights: pd.DataFrame) -> None:
    assert 327_000 < len(flights) < 327_346  # 327,346 have an arrival delay; the last evening is January in UTC
    assert 0.23 < flights["late"].mean() < 0.25
    assert set(flights["late"]) == {0, 1}


def test_each_partition_holds_its_own_month_in_utc(year: Path) -> None:
    for month in flights_data.MONTHS:
        start, end = window_bounds(month, "month")
        times = flights_data.read_month(year, month)["scheduled_departure"]
        assert times.min() >= start and times.max() < end
        assert times.dt.tz is None


def test_truth_has_the_same_flights_as_training_data(year: Path) -> None:
    truth = pd.read_parquet(year / "truth" / "2013-05.parquet")
    training = flights_data.read_month(year, "2013-05")
    assert list(truth) == ["flight_id", "late"]
    pd.testing.assert_frame_equal(truth, training[["flight_id", "late"]])


def test_values_meet_the_expectations_of_the_spec(flights: pd.DataFrame) -> None:
    spec = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
    for feature in spec.features:
        column = flights[feature.name]
        assert column.isna().mean() <= feature.missing_at_most, feature.name
        if feature.minimum is not None:
            assert column.min() >= feature.minimum and column.max() <= feature.maximum, feature.name
        if feature.categories:
            assert set(column) == set(feature.categories)


def test_scheduled_minutes_take_the_time_zones_out(flights: pd.DataFrame) -> None:
    def median(destination: str) -> float:
        return flights.loc[flights["destination"] == destination, "scheduled_minutes"].median()

    assert 60 <= median("BOS") <= 90
    assert 350 <= median("LAX") <= 400  # three hours west
    assert 600 <= median("HNL") <= 690  # no summer time there
    assert 210 <= median("SJU") <= 250  # Puerto Rico


def test_preparing_again_uses_what_is_there(folder: Path, year: Path) -> None:
    before = (year / "truth" / "2013-01.parquet").stat().st_mtime_ns
    assert flights_data.prepare_year(folder) == year
    assert (year / "truth" / "2013-01.parquet").stat().st_mtime_ns == before
    assert not list(folder.glob(".preparing-*"))


def test_a_month_arrives_whole_and_alone(year: Path, tmp_path: Path) -> None:
    flights_data.arrive(year, tmp_path, "2013-03")
    flights_data.arrive(year, tmp_path, "2013-03")
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["flights/training/2013-03.parquet", "flights/truth/2013-03.parquet"]
    assert (tmp_path / found[0]).read_bytes() == (year / "training" / "2013-03.parquet").read_bytes()
