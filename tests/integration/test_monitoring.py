"""From a prediction log to a retraining, with real files, a real store and the real operators."""

import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from include.core.health.record import HealthRow, SkewFigure
from include.core.quality.figures import QualityFigure
from include.stages.installation import open_installation
from tests.support.bundles import UnregisteredBundles

WINDOWS = ("2013-03", "2013-04", "2013-05")
MODEL: dict[str, Any] = {
    "schema": 1,
    "name": "late",
    "owner": "flight-operations",
    "description": "Lateness <of> flights.",
    "repository": {"url": "r"},
    "task": "binary_classification",
    "target": "late",
    "features": [{"name": "distance", "type": "number"}, {"name": "origin", "type": "category"}],
    "data": {"source": {"path": "data/{window}.parquet"}, "key": "id", "event_time": "at"},
    "truth": {"source": {"path": "truth/{window}.parquet"}, "key": "id", "column": "late"},
    "metrics": {"primary": "roc_auc", "also": ["brier"], "slices": ["origin"]},
    "monitoring": {"window": "month", "rows_at_least": 100},
    "degradation": {"drop": 0.05, "windows": 3, "breaches": 2},
}


class House:
    """One model with its log, truth, bundles and store below a temporary EVERGREEN_HOME."""

    def __init__(self, home: Path, lake: Path | None = None):
        from include.core.spec import ModelSpec

        here = open_installation()
        self.installation = replace(here, registry=UnregisteredBundles(here.settings))
        self.home, self.store, self.spec = home, here.store, ModelSpec.model_validate(MODEL)
        self.lake = lake or home
        self.random, self.truth = np.random.default_rng(0), {}
        self.bundle("1")
        nothing = self.store.release("late", "production")
        self.store.swap_release(nothing, nothing.begin_canary("1", 100, {}, "test").promote("1", "test"))

    def frame(self, rows: int) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "distance": self.random.normal(500, 100, rows),
                "origin": self.random.choice(["EWR", "JFK"], rows),
                "prediction": self.random.random(rows),
            }
        )

    def bundle(self, version: str) -> None:
        from include.core.drift.profile import build_profile
        from include.core.quality.estimation import build_estimator

        frame, folder = self.frame(2000), self.home / "artifacts" / "late" / version
        folder.mkdir(parents=True)
        figure = {"value": 0.9, "low": 0.88, "high": 0.92, "n": 2000}
        (folder / "metrics.json").write_text(json.dumps({"quality": {"roc_auc": figure}, "slices": {}}))
        (folder / "profile.json").write_text(json.dumps(build_profile(frame, self.spec, frame.prediction)))
        holdout = frame.assign(late=frame.prediction + self.random.normal(0, 0.1, len(frame)) > 0.5)
        (folder / "estimator.json").write_text(json.dumps(build_estimator(holdout, self.spec)))

    def keep_reference(self, version: str = "1", rows: int = 2000) -> None:
        """The rows that the version was trained on, in the lake as a training leaves them."""
        from include.adapters.data.snapshots import take_snapshot

        data = self.lake / "data" / "2013-01.parquet"
        data.parent.mkdir(parents=True, exist_ok=True)
        frame = self.frame(rows).drop(columns="prediction").assign(late=False, at=pd.Timestamp("2013-01-15"))
        frame.assign(id=[str(number) for number in range(rows)]).to_parquet(data)
        snapshot = take_snapshot(self.installation.settings, self.spec, "2013-01")
        lineage = {"snapshot": snapshot.hash, "trained_until": "2013-01-31T00:00:00"}
        (self.home / "artifacts" / "late" / version / "lineage.json").write_text(json.dumps(lineage))

    def predict(self, window: str, rows: int = 300, version: str = "1", noise: float = 0.1) -> None:
        """Log ``rows`` requests; more noise makes predictions worse."""
        frame, log = self.frame(rows), self.home / "prediction_log" / "late"
        frame["id"] = [f"{window}/{version}/{n}" for n in range(rows)]
        frame["late"] = frame.prediction + self.random.normal(0, noise, rows) > 0.5
        self.truth[window] = pd.concat([self.truth.get(window), frame[["id", "late"]]])
        log.mkdir(parents=True, exist_ok=True)
        with (log / f"{version}-1-{window}.jsonl").open("a") as file:
            for number, row in frame.iterrows():
                line = {
                    "request_id": row["id"],
                    "received": 1.0 + number,
                    "version": version,
                    "release": "production@1",
                    "keys": [row["id"]],
                    "event_times": [f"{window}-15T10:00:00"],
                    "features": {"distance": [row["distance"]], "origin": [row["origin"]]},
                    "predictions": [row["prediction"]],
                }
                file.write(json.dumps(line) + "\n")

    def truth_arrives(self, window: str) -> None:
        path = self.lake / "truth" / f"{window}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.truth[window].to_parquet(path)

    def monitor(self, window: str = "") -> dict[str, Any]:
        """What the tasks of late.monitoring do; returns the asset event's extra."""
        from evergreen.assets import model_asset
        from evergreen.operators.gather_predictions import GatherPredictionsOperator
        from evergreen.operators.measure_health import MeasureHealthOperator
        from evergreen.operators.publish_health import PublishHealthOperator

        event = SimpleNamespace(extra={})
        run = SimpleNamespace(run_id=f"manual__{window}", run_after=datetime(2013, 6, 1, tzinfo=UTC))
        context: Any = {"dag_run": run, "outlet_events": {model_asset("late", "health"): event}}
        gathered = GatherPredictionsOperator(task_id="gather_predictions", model="late").execute(context)
        measure = MeasureHealthOperator(task_id="measure_health", model="late", window=window, gathered=gathered)
        windows = json.loads(json.dumps(measure.execute(context)))
        PublishHealthOperator(task_id="publish_health", model="late", windows=windows).execute(context)
        return event.extra

    def month(self, window: str, **more: Any) -> None:
        self.predict(window, **more)
        self.truth_arrives(window)
        self.monitor(window)

    def ask(self, *, wait: bool = False) -> Any:
        from evergreen.sensors.degraded_health import DegradedHealthSensor

        return DegradedHealthSensor(task_id="degraded_health", model="late").poke({"params": {"wait": wait}})

    def health(self, window: str) -> HealthRow:
        return next(row for row in self.store.health("late") if row.window == window)

    def release(self, version: str) -> None:
        """Make the version the one that serves."""
        self.bundle(version)
        now = self.store.release("late", "production")
        self.store.swap_release(now, now.promote(version, "test"))


def is_self_contained(page: str) -> None:
    """Fails when a page would load anything, or links to anything but the pages beside it."""
    assert not re.search(r"src=|url\(|@import|<script", page), "the page must need no network"
    for link in re.findall(r'href="([^"]*)"', page):
        assert re.fullmatch(r"#\w+|[\w-]+\.html", link), f"{link} is not beside the page"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    models = tmp_path / "models" / "late"
    models.mkdir(parents=True)
    (models / "model.yaml").write_text(yaml.safe_dump(MODEL))
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("EVERGREEN_STORE_URL", raising=False)
    monkeypatch.setenv("AIRFLOW_CONN_EVERGREEN_LAKE", json.dumps({"conn_type": "fs", "extra": {"path": str(tmp_path)}}))
    made = House(tmp_path)
    monkeypatch.setattr("include.stages.installation.open_installation", lambda: made.installation)
    return made


def test_a_model_that_was_never_released_has_no_health(house):
    from airflow.sdk.exceptions import AirflowSkipException

    from evergreen.operators.gather_predictions import GatherPredictionsOperator

    task = GatherPredictionsOperator(task_id="gather_predictions", model="another")
    with pytest.raises(AirflowSkipException, match="ever released"):
        task.execute({})


def test_a_window_is_measured_and_published(house):
    house.predict("2013-05")
    house.truth_arrives("2013-05")
    event = house.monitor()  # the run is of 1 June: the window that ended last is May
    assert (event["window"], event["status"], event["windows"]) == ("2013-05", "complete", ["2013-05"])
    row = house.health("2013-05")
    assert (row.predictions, row.rows, row.live_version) == (300, 300, "1")
    assert 0.85 < row.quality["roc_auc"].value < 1
    assert row.drift.drifted == ()
    assert json.loads(Path(row.report).with_suffix(".json").read_text()) == row.as_dict()
    page = Path(row.report).read_text()
    assert "<b>healthy</b>" in page
    assert "Lateness &lt;of&gt; flights." in page
    assert "origin=EWR" in page
    is_self_contained(page)


def test_a_window_that_drifted_and_differs_from_its_source_says_so_on_its_page(house):
    house.predict("2013-05")
    log = house.home / "prediction_log" / "late" / "1-1-2013-05.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    source = pd.DataFrame(
        {"id": line["keys"][0], **{name: values[0] for name, values in line["features"].items()}} for line in lines
    )
    (house.home / "data").mkdir()
    source.assign(distance=source.distance * 2).to_parquet(house.home / "data" / "2013-05.parquet")
    for line in lines:
        line["features"]["origin"] = ["LGA"]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    house.monitor("2013-05")
    row = house.health("2013-05")
    assert row.drift.drifted == ("origin",)
    assert row.data_quality.skew.features["distance"] == SkewFigure(rows=300, different=300)
    assert (row.data_quality.skew.asked, row.data_quality.skew.of) == (300, 300)
    page = Path(row.report).read_text()
    assert "Drifted: <b>origin</b>" in page
    assert "new: LGA" in page
    assert "vanished: EWR, JFK" in page
    assert "distance: 300 of 300 rows differ from the source" in page


def test_features_that_depend_on_each_other_otherwise_are_drift_though_each_is_as_it_was(house):
    house.keep_reference()
    house.predict("2013-05", rows=400)
    house.monitor("2013-05")
    assert house.health("2013-05").drift.multivariate.status == "steady"
    log = house.home / "prediction_log" / "late" / "1-1-2013-05.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.rename(log.with_name("before"))
    shutil.rmtree(house.home / "lake" / "predictions")
    for line in lines:  # far flights start at one airport now; as many as before
        line["features"]["origin"] = ["EWR" if line["features"]["distance"][0] > 500 else "JFK"]
    log.with_name("1-2-2013-05.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    house.monitor("2013-05")
    drift = house.health("2013-05").drift
    assert (drift.drifted, drift.status, drift.multivariate.status) == ((), "drifted", "drifted")
    assert {one.feature for one in drift.multivariate.leaning} == {"distance", "origin"}
    page = Path(house.health("2013-05").report).read_text()
    assert "all together have" in page
    assert "Permutation importance for the classifier" in page
    is_self_contained(page)


def test_a_snapshot_that_is_gone_leaves_the_rest_of_the_health_as_it_is(house):
    house.keep_reference()
    for path in (house.home / "lake" / "snapshots" / "objects").glob("*.parquet"):
        path.unlink()
    house.month("2013-05")
    drift = house.health("2013-05").drift
    assert (drift.status, drift.multivariate.status) == ("steady", "unknown")
    page = Path(house.health("2013-05").report).read_text()
    assert "Not judged" in page and "can&#39;t be read" in page


def test_a_window_with_far_fewer_predictions_than_earlier_ones_says_so_on_its_page(house):
    from airflow.sdk.exceptions import AirflowSkipException

    for month in range(1, 6):
        house.month(f"2012-{month:02d}", rows=100)
    house.month("2012-06", rows=40)
    fifth, sixth = house.health("2012-05"), house.health("2012-06")
    assert "5 earlier windows" in fifth.data_quality.row_count.not_judged
    assert "is not judged: it takes 5 earlier windows" in Path(fifth.report).read_text()
    sentence = "unusually few predictions: 40, while the median of 5 earlier windows is 100"
    assert sixth.data_quality.findings[0].startswith(sentence)
    assert sentence in Path(sixth.report).read_text()
    with pytest.raises(AirflowSkipException):  # a finding starts nothing
        house.ask()


def test_truth_that_is_there_before_the_predictions_counts_once_they_come(house):
    house.predict("2013-05")
    log = house.home / "prediction_log" / "late" / "1-1-2013-05.jsonl"
    lines = log.read_text()
    log.write_text("")
    house.truth_arrives("2013-05")
    house.monitor("2013-05")
    before = house.health("2013-05")
    assert (before.status, before.service.truth_unknown) == ("empty", 300)
    log.write_text(lines)
    house.monitor("2013-05")
    after = house.health("2013-05")
    assert (after.status, after.rows, after.service.truth_unknown) == ("complete", 300, 0)


def test_two_windows_measured_at_once_are_as_if_measured_one_after_the_other(house):
    from concurrent.futures import ThreadPoolExecutor

    windows = ("2013-03", "2013-04", "2013-05")
    for window in windows:
        house.predict(window)
        house.truth_arrives(window)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(house.monitor, windows))
    at_once = {window: house.health(window) for window in windows}
    for window in windows:
        house.monitor(window)
        alone = house.health(window)
        for part in ("predictions", "rows", "status", "quality", "drift", "estimate"):
            assert getattr(at_once[window], part) == getattr(alone, part)
        assert (alone.predictions, alone.service.duplicates) == (300, 0), "each logged row once"


def test_rows_in_two_logs_are_counted_once_for_drift_too(house):
    house.predict("2013-05", rows=300)
    log = house.home / "prediction_log" / "late" / "1-1-2013-05.jsonl"
    house.monitor("2013-05")
    alone = house.health("2013-05")
    (log.parent / "1-1-again.jsonl").write_text("".join(log.read_text().splitlines(keepends=True)[:200]))
    house.monitor("2013-05")
    row = house.health("2013-05")
    assert (row.service.duplicates, row.data_quality.rows) == (200, 300)
    assert row.drift == alone.drift
    assert row.slices == alone.slices


def test_late_truth_and_late_predictions_bring_earlier_windows_up_to_date(house):
    house.predict("2013-04")
    house.monitor("2013-04")
    assert house.health("2013-04").status == "waiting"
    assert "has not arrived" in house.health("2013-04").truth_problem
    house.truth_arrives("2013-04")
    house.predict("2013-05")
    assert house.monitor("2013-05")["windows"] == ["2013-04", "2013-05"]
    assert house.health("2013-04").status == "complete"
    house.predict("2013-04", rows=10, version="2")
    house.bundle("2")
    assert house.monitor("2013-05")["windows"] == ["2013-04", "2013-05"]
    assert house.health("2013-04").predictions == 310
    assert house.monitor("2013-05")["windows"] == ["2013-05"]


def test_measuring_again_gives_the_same_health(house):
    house.month("2013-05")
    before = house.health("2013-05")
    house.monitor("2013-05")
    assert house.health("2013-05") == before


def test_truth_that_cannot_be_read_holds_with_its_reason_on_the_page(house):
    house.predict("2013-05")
    (house.home / "truth").mkdir()
    pd.DataFrame({"id": ["a"], "wrong": [1]}).to_parquet(house.home / "truth" / "2013-05.parquet")
    house.monitor("2013-05")
    row = house.health("2013-05")
    assert row.status == "waiting"
    assert "lacks the column(s) late" in row.truth_problem
    assert "lacks the column(s) late" in Path(row.report).read_text().partition("over time")[0]


def test_a_window_with_one_class_and_an_empty_one_are_published_without_figures(house):
    house.predict("2013-04")
    house.truth["2013-04"]["late"] = False
    house.truth_arrives("2013-04")
    house.monitor("2013-04")
    assert house.health("2013-04").quality["roc_auc"].value is None
    assert house.monitor("2013-05")["status"] == "empty"
    assert Path(house.health("2013-05").report).exists()


def test_healthy_windows_skip_the_retraining_with_the_verdict(house):
    from airflow.sdk.exceptions import AirflowSkipException

    house.month("2013-04")
    with pytest.raises(AirflowSkipException, match=r"pass: window 2013-04 is within the allowed drop"):
        house.ask()
    assert house.ask(wait=True) is False


def test_degraded_health_triggers_the_training_once(house):
    from airflow.sdk.exceptions import AirflowSkipException, DagRunTriggerException

    from evergreen.operators.trigger_training import TriggerTrainingOperator

    house.month("2013-03")
    house.month("2013-04", noise=2.0)
    with pytest.raises(AirflowSkipException, match="hold"):
        house.ask()
    house.month("2013-05", noise=2.0)
    degraded = house.ask()
    assert degraded.is_done
    signals = degraded.xcom_value
    assert (signals["incident"], signals["window"]) == ("late-2013-05", "2013-05")
    assert "beyond the allowed drop" in signals["reason"]

    def trigger() -> DagRunTriggerException:
        operator = TriggerTrainingOperator(task_id="trigger_training", model="late", degraded=signals)
        with pytest.raises(DagRunTriggerException) as raised:
            operator.execute({"ti": None})
        return raised.value

    first, second = trigger(), trigger()
    assert (first.trigger_dag_id, first.dag_run_id) == ("late.training", "incident__late-2013-05")
    assert first.dag_run_id == second.dag_run_id
    assert first.skip_when_already_exists
    assert not first.reset_dag_run
    assert first.conf == signals
    assert "late-2013-05" in first.note
    assert [incident.key for incident in house.store.incidents("late")] == ["late-2013-05"]
    assert house.ask().xcom_value["incident"] == "late-2013-05", "a lost trigger must be found again"
    house.monitor("2013-05")
    page = Path(house.health("2013-05").report).read_text()
    assert "<b>degraded</b>" in page
    assert "<code>late-2013-05</code>" in page
    house.month("2013-06", noise=2.0)
    with pytest.raises(AirflowSkipException, match="cooling down after the incident of 2013-05"):
        house.ask()


def test_the_sensor_in_its_run_skips_in_place_of_failing(house):
    from airflow.sdk.exceptions import AirflowSkipException

    from evergreen.sensors.degraded_health import DegradedHealthSensor

    sensor = DegradedHealthSensor(task_id="degraded_health", model="late")
    context: Any = {"params": {"wait": False}, "ti": SimpleNamespace(get_first_reschedule_date=lambda _: None)}
    with pytest.raises(AirflowSkipException, match="no window has been measured"):
        sensor.execute(context)


def test_quality_is_estimated_before_truth_and_held_against_it_afterwards(house):
    house.predict("2013-05")
    house.monitor()
    row = house.health("2013-05")
    assert (row.status, row.estimate.truth) == ("waiting", {})
    expected = row.estimate.quality["roc_auc"]
    assert expected.low < expected.value < expected.high
    page = Path(row.report).read_text()
    assert "estimate for its 300 predictions" in page
    assert "actual</th>" not in page
    house.truth_arrives("2013-05")
    house.monitor()
    after = house.health("2013-05").estimate
    assert after.quality["roc_auc"] == expected, "truth must not change what was expected before it"
    assert after.truth["roc_auc"].inside
    assert "actual</th>" in Path(row.report).read_text()


def test_an_estimate_by_itself_starts_no_retraining(house):
    from airflow.sdk.exceptions import AirflowSkipException

    house.predict("2013-05")
    house.monitor()
    row = house.health("2013-05")
    hopeless = replace(row.estimate, quality={"roc_auc": QualityFigure(0.1, 0.05, 0.15, 300)})
    house.store.record_health("late", replace(row, estimate=hopeless))
    with pytest.raises(AirflowSkipException, match="hold"):
        house.ask()


def test_a_version_from_before_estimates_is_measured_without_one(house):
    (house.home / "artifacts" / "late" / "1" / "estimator.json").unlink()
    house.month("2013-05")
    assert house.health("2013-05").estimate is None
    assert "before ground truth</h2>" not in Path(house.health("2013-05").report).read_text()


def test_the_history_page_shows_every_window_and_pages_link_to_each_other(house):
    for window in WINDOWS:
        house.month(window)
    folder = house.home / "reports" / "late"
    page = (folder / "index.html").read_text()
    is_self_contained(page)
    for window in WINDOWS:
        assert f'href="{window}.html"' in page
    assert "<caption>Population stability index by feature and window" in page
    middle = (folder / "2013-04.html").read_text()
    assert 'href="2013-03.html" rel="prev"' in middle
    assert 'href="2013-05.html" rel="next"' in middle, "the page before a new window must learn of it"
    for source in (page, middle):
        for link in re.findall(r'href="([\w-]+\.html)"', source):
            assert (folder / link).exists(), f"{link} leads nowhere"


def test_a_bad_window_of_a_version_that_was_replaced_holds_wherever_the_policy_is_asked(house):
    """Sensor, page of the window, history page and metrics say the same; the demo asks as the sensor does."""
    from airflow.sdk.exceptions import AirflowSkipException

    from include.observability.exposition import Exposition
    from include.observability.health_metrics import add_model
    from include.stages.retraining import decide

    house.month("2013-04", noise=2.0)
    house.predict("2013-05", noise=2.0)
    house.truth_arrives("2013-05")
    house.release("2")  # live, and not measured yet
    house.monitor("2013-05")
    reason = "version 2 serves now and has not been measured yet"
    with pytest.raises(AirflowSkipException, match=reason):
        house.ask()
    folder = house.home / "reports" / "late"
    for page in ("2013-05.html", "index.html"):
        assert "<b>hold</b>: roc_auc of version 1 is beyond" in (folder / page).read_text(), page
        assert reason in (folder / page).read_text()
    metrics = Exposition()
    add_model(metrics, house.spec, house.store, decide(house.installation, house.spec))
    assert b'evergreen_policy_verdict{answer="hold",model="late"} 1.0' in metrics.page()


def test_the_page_of_an_earlier_window_says_what_was_known_then(house):
    house.month("2013-03", noise=2.0)
    house.month("2013-04", noise=2.0)
    house.release("2")
    house.month("2013-05", version="2")
    folder = house.home / "reports" / "late"
    assert "<b>degraded</b>" in (folder / "2013-04.html").read_text(), "though version 2 serves now"
    assert "<b>healthy</b>" in (folder / "2013-05.html").read_text()
