"""Checks of a snapshot: bad data is refused with its column and count."""

from typing import Any

import numpy as np
import pytest

from include.adapters.data.expectations import check_snapshot
from include.adapters.data.snapshots import read_snapshot, take_snapshot
from include.core.errors import DataError
from include.core.spec import ModelSpec
from include.settings import Settings
from tests.unit.adapters.data.flights_data import flights_of


def verdict_on(settings: Settings, spec: ModelSpec) -> Any:
    snapshot = take_snapshot(settings, spec, None)
    return check_snapshot(spec, snapshot, read_snapshot(snapshot))


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
        ({"origin": "XXX"}, "origin", "XXX"),
        ({"flight_id": "same"}, "flight_id", "1200 rows"),
        ({"late": 2}, "late", "2"),
        ({"late": 1}, "late", "violated"),
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
    assert any(found in failure["observed"] for failure in failures), failures


def test_text_in_a_number_is_refused_before_the_checks(spec: ModelSpec, land: Any, settings: Settings) -> None:
    land("2013-01", distance="far")
    with pytest.raises(DataError, match=r"flights/training/2013-01\.parquet .*column 'distance' .* such as 'far'"):
        take_snapshot(settings, spec, None)


def test_a_partition_with_too_few_rows_fails(spec: ModelSpec, land: Any, settings: Settings) -> None:
    land("2013-01")
    land("2013-02", flights_of("2013-02", rows=999))
    assert "999 rows" in verdict_on(settings, spec).reason
