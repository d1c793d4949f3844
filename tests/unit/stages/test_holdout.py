"""A training's code can write anything into its holdout: only predictions are taken from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.adapters.data.snapshots import Snapshot
from include.adapters.engines.job_results import read_training_report
from include.core.errors import TrainingError
from include.core.spec import ModelSpec
from include.stages.holdout import check_trained_until, take_holdout
from tests.support.specs import columns, model_spec

SINCE, UNTIL = datetime(2020, 2, 20), datetime(2020, 3, 10)
REPORT = {"rows": 50, "holdout_rows": 19, "seconds": {"fit": 0.1}, "trained_until": "2020-02-19T00:00:00", "sha256": ""}
SPECS = {
    "prices": model_spec(name="prices", task="regression", target="price", features=columns(size="number")),
    "churn": model_spec(name="churn", target="left", features=columns(size="number", plan="category")),
}


@pytest.fixture(params=sorted(SPECS))
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    return SPECS[request.param]


@pytest.fixture
def snapshot(spec: ModelSpec, tmp_path: Path) -> Snapshot:
    partitions = {}
    for window, days in {"2020-01": 31, "2020-02": 29, "2020-03": 31}.items():
        size = np.arange(days, dtype=float)
        rows = pd.DataFrame({"id": [f"{window}/{day}" for day in range(days)], "size": size, "plan": "basic"})
        rows = rows.assign(at=pd.date_range(f"{window}-01", periods=days, freq="D"), price=3 * size, left=size % 2)
        partitions[window] = str(tmp_path / f"{window}.parquet")
        rows.to_parquet(partitions[window], index=False)
    return Snapshot(spec.name, "hash", "2020-03", partitions, 91)


@pytest.fixture
def honest(spec: ModelSpec, snapshot: Snapshot) -> pd.DataFrame:
    """What ``runtime.train`` would write."""
    rows = pd.concat([pd.read_parquet(path) for path in snapshot.paths], ignore_index=True)
    rows = rows[(rows["at"] >= SINCE) & (rows["at"] < UNTIL)].reset_index(drop=True)
    kept = rows[["id", "at", *spec.feature_names, spec.target]]
    return kept.assign(prediction=np.linspace(0, 1, len(rows)), champion=0.5)


def take(spec: ModelSpec, snapshot: Snapshot, left: pd.DataFrame, folder: Path, *predicted: str) -> pd.DataFrame:
    file = folder / "holdout.parquet"
    left.to_parquet(file, index=False)
    take_holdout(spec, snapshot, file, list(predicted) or ["prediction"], SINCE, UNTIL)
    return pd.read_parquet(file)


def test_the_predictions_are_the_jobs_and_the_rest_is_the_snapshots(
    spec: ModelSpec, snapshot: Snapshot, honest: pd.DataFrame, tmp_path: Path
) -> None:
    taken = take(spec, snapshot, honest, tmp_path, "prediction", "champion")
    pd.testing.assert_frame_equal(taken, honest)
    assert "champion" not in take(spec, snapshot, honest, tmp_path), "where the champion was not asked"


def test_ground_truth_features_and_times_that_a_job_invents_do_not_count(
    spec: ModelSpec, snapshot: Snapshot, honest: pd.DataFrame, tmp_path: Path
) -> None:
    lies: dict[str, Any] = {
        "at": pd.Timestamp("1999-01-01"),
        "size": -1.0,
        spec.target: honest["prediction"],
        "more": "x",
    }
    taken = take(spec, snapshot, honest.assign(**lies), tmp_path)
    pd.testing.assert_frame_equal(taken, honest.drop(columns="champion"))


TAMPERED: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "no rows": lambda rows: rows.head(0),
    "only the easy rows": lambda rows: rows.iloc[3:],
    "another order": lambda rows: rows.iloc[::-1],
    "a row twice": lambda rows: pd.concat([rows, rows.head(1)]),
    "another row": lambda rows: rows.assign(id=rows["id"].replace(rows["id"][0], "other")),
    "no keys": lambda rows: rows.assign(id=None),
    "keys of another type": lambda rows: rows.assign(id=range(len(rows))),
    "a missing prediction": lambda rows: rows.assign(prediction=rows["prediction"].where(rows.index > 0)),
    "infinite": lambda rows: rows.assign(prediction=np.inf),
    "text": lambda rows: rows.assign(prediction="high"),
    "lists": lambda rows: rows.assign(prediction=pd.Series([[1.0]] * len(rows))),
    "no column": lambda rows: rows.drop(columns="prediction"),
}


@pytest.mark.parametrize("tampered", TAMPERED)
def test_a_holdout_that_does_not_predict_each_row_once_is_refused(
    spec: ModelSpec, snapshot: Snapshot, honest: pd.DataFrame, tmp_path: Path, tampered: str
) -> None:
    with pytest.raises(TrainingError, match=r"holdout\.parquet.*The model's code must not write to it"):
        take(spec, snapshot, TAMPERED[tampered](honest), tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 200 + b"PAR1", b"no Parquet at all" * 9])
def test_a_holdout_that_is_not_parquet_is_refused(
    spec: ModelSpec, snapshot: Snapshot, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "holdout.parquet"
    file.write_bytes(content)
    with pytest.raises(TrainingError, match=r"holdout\.parquet can't be read"):
        take_holdout(spec, snapshot, file, ["prediction"], SINCE, UNTIL)


def test_a_small_file_that_expands_to_many_rows_is_refused_before_it_is_read(
    spec: ModelSpec, snapshot: Snapshot, tmp_path: Path
) -> None:
    file = tmp_path / "holdout.parquet"
    schema = pa.schema({"id": pa.string(), "prediction": pa.float64()})
    with pq.ParquetWriter(file, schema) as writer:
        for _ in range(20):
            part = {"id": pa.array(["x"] * 1_000_000), "prediction": pa.array(np.zeros(1_000_000))}
            writer.write_table(pa.table(part, schema=schema))
    assert file.stat().st_size < 2**20
    with pytest.raises(TrainingError, match="has 20000000 rows, more than its data"):
        take_holdout(spec, snapshot, file, ["prediction"], SINCE, UNTIL)


def test_the_report_must_name_the_newest_training_row(spec: ModelSpec, snapshot: Snapshot, tmp_path: Path) -> None:
    """A later time would leave no unseen rows for any training after it; an earlier one would judge by seen rows."""
    report = tmp_path / "training.json"
    report.write_text(json.dumps(REPORT))
    check_trained_until(spec, snapshot, report, SINCE)
    check_trained_until(spec, snapshot, report, datetime(2020, 2, 19, 12))
    for lie in ("2099-01-01T00:00:00", "2020-02-18T00:00:00", "2020-02-19T00:00:00.000001"):
        report.write_text(json.dumps({**REPORT, "trained_until": lie}))
        with pytest.raises(TrainingError, match="newest training row is of 2020-02-19"):
            check_trained_until(spec, snapshot, report, SINCE)


def test_importances_that_a_job_invents_are_shares_within_bounds(tmp_path: Path) -> None:
    file = tmp_path / "training.json"
    invented = {"ok": 0.25, "one": 1, "below": -0.1, "above": 2, "text": "0.5", "nan": float("nan"), "yes": True}
    file.write_text(json.dumps({**REPORT, "importances": invented}))
    assert read_training_report(file)["importances"] == {"ok": 0.25, "one": 1.0}
    file.write_text(json.dumps({**REPORT, "importances": {f"{n}" + "x" * 500: 0.1 for n in range(5_000)}}))
    taken = read_training_report(file)["importances"]
    assert (len(taken), max(map(len, taken))) == (2_000, 100)
    file.write_text(json.dumps(REPORT))
    assert read_training_report(file)["importances"] == {}, "a build of an earlier release reports none"
    file.write_text(json.dumps({**REPORT, "importances": ["x"]}))
    with pytest.raises(TrainingError, match="importances is not an object"):
        read_training_report(file)


def test_parameters_that_a_job_invents_are_few_short_and_fit_every_database(tmp_path: Path) -> None:
    file = tmp_path / "training.json"
    invented = {"ok": "1", "null": "a\0b", "half": "\ud800", "long": "x" * 251, "x" * 101: "1", "list": [1]}
    file.write_text(json.dumps({**REPORT, "parameters": invented}))
    assert read_training_report(file)["parameters"] == {"ok": "1", "null": "a\ufffdb", "half": "\ufffd"}
    file.write_text(json.dumps({**REPORT, "parameters": {str(number): "1" for number in range(1000)}}))
    assert len(read_training_report(file)["parameters"]) == 100
    file.write_text(json.dumps(REPORT))
    assert read_training_report(file)["parameters"] == {}, "a build of an earlier release reports none"


@pytest.mark.parametrize(
    "report",
    [
        *("", "[]", "7", "null", "{", "[" * 100_000, '{"rows": ' + "9" * 10_000 + "}", "\ud800", "{}"),
        *({**REPORT, name: "x"} for name in REPORT if name != "sha256"),
        *({**REPORT, name: None} for name in REPORT if name != "sha256"),
        {**REPORT, "rows": float("inf")},
        *({**REPORT, "parameters": parameters} for parameters in ("x", None, ["x"], 7)),
        {**REPORT, "trained_until": "soon"},
        {**REPORT, "more": "x" * 17_000_000},
    ],
)
def test_a_report_of_another_form_is_refused(spec: ModelSpec, snapshot: Snapshot, tmp_path: Path, report: Any) -> None:
    file = tmp_path / "training.json"
    text = report if isinstance(report, str) else json.dumps(report)
    file.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    with pytest.raises(TrainingError, match=r"training\.json is not a training's report"):
        check_trained_until(spec, snapshot, file, SINCE)
