"""Samples are drawn evenly from the right rows, and what can't be read is a reason and no error."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.adapters.data import samples
from include.adapters.data.samples import compare_window, reference_sample, window_sample
from include.adapters.data.snapshots import load_snapshot
from include.core.build import Lineage
from tests.unit.core.monitored_rides import ride_spec, rides

SPEC = ride_spec()
LINEAGE = Lineage(snapshot="f" * 64, trained_until="2013-04-20T00:00:00")


def write(frame: pd.DataFrame, path: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=300)


@pytest.fixture
def lake(tmp_path: Path) -> Any:
    """Two months of reference, the last ten days of which nobody learnt from, and a window of two versions."""
    place, partitions = tmp_path / "lake", {}
    for number, month in enumerate(("2013-03", "2013-04")):
        path = place / "snapshots" / "objects" / f"{number}.parquet"
        days = pd.Timestamp(month) + pd.to_timedelta(np.arange(1500) // 50, unit="D")
        frame = rides(1500, seed=number).assign(at=days, distance=np.arange(1500) + 1500.0 * number)
        write(frame.drop(columns="prediction"), path)
        partitions[month] = str(path)
    manifest = {"model": "taxi", "hash": LINEAGE.snapshot, "window": "2013-04", "rows": 3000}
    file = place / "snapshots" / "taxi" / f"{LINEAGE.snapshot}.json"
    file.parent.mkdir()
    file.write_text(json.dumps(manifest | {"partitions": partitions}))
    for number in range(3):
        frame = rides(400, seed=10 + number).assign(version=np.where(np.arange(400) < 300, "1", "2"), row=0)
        frame["request_id"] = frame["key"] = [f"{number}/{n}" for n in range(400)]
        frame["event_time"] = pd.Timestamp("2013-05-17")
        write(frame, place / "predictions" / "taxi" / "2013-05" / f"{number}.parquet")
    return place


def test_a_sample_of_all_rows_is_the_rows_that_the_version_was_trained_on(lake: Any) -> None:
    found = reference_sample(SPEC, LINEAGE, rows=10_000, lake=lake)
    assert (len(found.frame), found.drawn_from) == (2500, 2500)
    assert set(found.frame.distance) == set(range(2500)), "all of March, and April until its 20th day"
    assert list(found.frame) == SPEC.feature_names, "nothing but the features is read"


def test_a_sample_is_of_the_size_asked_for_without_repeats_and_even(lake: Any) -> None:
    found = reference_sample(SPEC, LINEAGE, rows=1000, seed=3, lake=lake)
    assert len(found.frame) == 1000
    assert found.frame.equals(reference_sample(SPEC, LINEAGE, rows=1000, seed=3, lake=lake).frame)
    assert not found.frame.equals(reference_sample(SPEC, LINEAGE, rows=1000, seed=4, lake=lake).frame)
    assert found.frame.distance.is_unique
    largest = reference_sample(SPEC, LINEAGE, lake=lake)
    assert found.frame.distance.mean() == pytest.approx(largest.frame.distance.mean(), rel=0.1)


def test_a_run_of_days_is_sampled_from_the_training_data(lake: Any) -> None:
    between = (pd.Timestamp("2013-03-30"), pd.Timestamp("2013-04-02"))
    found = reference_sample(SPEC, LINEAGE, between=between, lake=lake)
    assert (len(found.frame), found.drawn_from) == (100, 100), "of March the 30th, of April the 1st; there is no 31st"
    assert found.times is not None
    assert set(found.days.astype(str)) == {"2013-03-30", "2013-04-01"}
    assert set(found.frame.distance) == set(range(1450, 1550))


def test_a_window_is_sampled_of_its_version_alone(lake: Any) -> None:
    found = window_sample(SPEC, "2013-05", "1", lake=lake)
    assert (len(found.frame), found.drawn_from) == (900, 900)
    assert window_sample(SPEC, "2013-05", "3", lake=lake).drawn_from == 0
    assert window_sample(SPEC, "2013-06", "1", lake=lake).drawn_from == 0


def test_a_row_that_stands_in_two_logs_is_drawn_once(lake: Any) -> None:
    folder = lake / "predictions" / "taxi" / "2013-05"
    (folder / "again.parquet").write_bytes((folder / "0.parquet").read_bytes())
    found = window_sample(SPEC, "2013-05", "1", lake=lake)
    assert (len(found.frame), found.drawn_from) == (900, 1200)


def test_a_feature_that_the_reference_lacks_is_left_out(lake: Any) -> None:
    path = lake / "snapshots" / "objects" / "0.parquet"
    write(pq.read_table(path).drop_columns(["zone"]).to_pandas(), path)
    assert "zone" not in reference_sample(SPEC, LINEAGE, lake=lake).frame
    independent = SPEC.model_copy(update={"data": SPEC.data.model_copy(update={"dependence": "none"})})
    figure = compare_window(independent, "2013-05", "1", LINEAGE, lake=lake)
    assert figure.status == "drifted", "by distance, which here is a running number"
    assert "zone" not in {one.feature for one in figure.importances}


def test_a_day_that_is_recognised_no_better_than_days_of_the_training_data_is_steady(lake: Any) -> None:
    figure = compare_window(SPEC, "2013-05", "1", LINEAGE, lake=lake)
    assert (figure.status, figure.runs) == ("steady", 1), "distance is a running number, so each day is recognised"


def gone(lake: Any) -> None:
    (lake / "snapshots" / "objects" / "1.parquet").unlink()


def damaged(lake: Any) -> None:
    (lake / "snapshots" / "objects" / "1.parquet").write_bytes(b"no parquet")


def without_manifest(lake: Any) -> None:
    (lake / "snapshots" / "taxi" / f"{LINEAGE.snapshot}.json").unlink()


def torn_manifest(lake: Any) -> None:
    (lake / "snapshots" / "taxi" / f"{LINEAGE.snapshot}.json").write_text("{")


def damaged_part(lake: Any) -> None:
    (lake / "predictions" / "taxi" / "2013-05" / "1.parquet").write_bytes(b"no parquet")


@pytest.mark.parametrize("harm", [gone, damaged, without_manifest, torn_manifest, damaged_part])
def test_what_is_gone_or_damaged_is_unknown_with_a_reason(lake: Any, harm: Any) -> None:
    assert compare_window(SPEC, "2013-05", "1", LINEAGE, lake=lake).status in ("steady", "drifted")
    harm(lake)
    figure = compare_window(SPEC, "2013-05", "1", LINEAGE, lake=lake)
    assert (figure.status, figure.auc) == ("unknown", None)
    assert figure.reason


@pytest.mark.parametrize("lineage", [None, Lineage(), Lineage(snapshot="f"), replace(LINEAGE, trained_until="never")])
def test_a_version_without_usable_lineage_is_unknown(lake: Any, lineage: Any) -> None:
    assert compare_window(SPEC, "2013-05", "1", lineage, lake=lake).status == "unknown"


def test_whatever_fails_does_not_stop_the_measurement(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(samples, "compare", fails)
    assert "no room" in compare_window(SPEC, "2013-05", "1", LINEAGE, lake=lake).reason
    assert load_snapshot(lake, "taxi", LINEAGE.snapshot).rows == 3000
