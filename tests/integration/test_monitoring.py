"""From a prediction log to a retraining, with real files, a real store and the real operators."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowSkipException

from include.core.health.record import SkewFigure
from tests.integration.monitored_model import MonitoredModel
from tests.support.specs import columns

WINDOWS = ("2013-03", "2013-04", "2013-05")


def is_self_contained(page: str) -> None:
    """Fails when a page would load anything, or links to anything but the pages beside it."""
    assert not re.search(r"src=|url\((?!#)|@import|<script", page), "the page must need no network"
    for link in re.findall(r'href="([^"]*)"', page):
        assert re.fullmatch(r"#\w+|[\w-]+\.html", link), f"{link} is not beside the page"


def test_a_model_that_was_never_released_has_no_health(monitored: MonitoredModel) -> None:
    from evergreen.operators.gather_predictions import GatherPredictionsOperator

    task = GatherPredictionsOperator(task_id="gather_predictions", model="another")
    with pytest.raises(AirflowSkipException, match="never been released"):
        task.execute({})


def test_a_window_is_measured_and_published(monitored: MonitoredModel) -> None:
    monitored.predict("2013-05")
    monitored.truth_arrives("2013-05")
    event = monitored.monitor()  # the run is of 1 June: the window that ended last is May
    assert (event["window"], event["status"], event["windows"]) == ("2013-05", "complete", ["2013-05"])
    row = monitored.health("2013-05")
    assert (row.predictions, row.rows, row.live_version) == (300, 300, "1")
    assert 0.85 < row.quality["roc_auc"].value < 1
    assert row.drift.drifted == ()
    assert json.loads(Path(row.report).with_suffix(".json").read_text()) == row.as_dict()
    page = Path(row.report).read_text()
    assert "<b>healthy</b>" in page
    assert "Lateness &lt;of&gt; flights." in page
    assert "origin=EWR" in page
    is_self_contained(page)


@pytest.mark.parametrize(("grain", "window"), [("week", "2013-W20"), ("day", "2013-05-15")])
def test_a_history_of_another_grain_is_no_obstacle(monitored: MonitoredModel, grain: str, window: str) -> None:
    for month in ("2013-03", "2013-04"):
        monitored.month(month, noise=1.0)
    assert monitored.ask().xcom_value["incident"] == "late-2013-04"
    monitored.predict("2013-05")
    monitored.monitor("2013-05")

    monitored.change_spec(monitoring={"window": grain})
    path = monitored.lake / "truth" / f"{window}.parquet"
    monitored.truth["2013-05"].to_parquet(path)
    event = monitored.monitor(window)
    assert (event["window"], event["status"]) == (window, "complete")
    row = monitored.health(window)
    assert (row.predictions, row.rows) == (300, 300), "gathered into the folder of the month"
    assert row.quality["roc_auc"].value > 0.85
    with pytest.raises(AirflowSkipException, match=f"window {window} is within the allowed drop"):
        monitored.ask()
    assert window in Path(row.report).read_text()
    history = (Path(row.report).parent / "index.html").read_text()
    assert ">2013-04<" not in history, "windows of different lengths are not one history"


def test_a_version_is_measured_by_the_specification_that_it_was_made_with(monitored: MonitoredModel) -> None:
    monitored.predict("2013-04")
    monitored.monitor("2013-04")
    monitored.change_spec(features=columns(distance="category", rain="number"), metrics={"slices": ["distance"]})
    monitored.predict("2013-05")
    monitored.truth_arrives("2013-05")
    monitored.monitor("2013-05")
    row = monitored.health("2013-05")
    assert (row.service.malformed_lines, row.predictions, row.status) == (0, 300, "complete")
    assert row.quality["roc_auc"].value > 0.85
    assert set(row.drift.features) == {"distance", "origin"}
    assert row.drift.drifted == ()
    assert row.data_quality.findings == ()
    assert (
        row.spec_change == "feature added: rain; feature removed: origin; feature retyped: distance: number → category"
    )
    assert row.spec_change in Path(row.report).read_text()


def test_a_window_that_drifted_and_differs_from_its_source_says_so_on_its_page(monitored: MonitoredModel) -> None:
    monitored.predict("2013-05")
    log = monitored.home / "prediction_log" / "late" / "1-1-2013-05.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    source = pd.DataFrame(
        {"id": line["keys"][0], **{name: values[0] for name, values in line["features"].items()}} for line in lines
    )
    (monitored.home / "data").mkdir()
    source.assign(distance=source.distance * 2).to_parquet(monitored.home / "data" / "2013-05.parquet")
    for line in lines:
        line["features"]["origin"] = ["LGA"]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monitored.monitor("2013-05")
    row = monitored.health("2013-05")
    assert row.drift.drifted == ("origin",)
    assert row.data_quality.skew.features["distance"] == SkewFigure(rows=300, different=300)
    assert (row.data_quality.skew.asked, row.data_quality.skew.of) == (300, 300)
    page = Path(row.report).read_text()
    assert "Drifted: <b>origin</b>" in page
    assert "new: LGA" in page
    assert "vanished: EWR, JFK" in page
    assert "distance: 300 of 300 rows differ from the source" in page


def test_features_that_depend_on_each_other_otherwise_are_drift_though_each_is_as_it_was(
    monitored: MonitoredModel,
) -> None:
    monitored.keep_reference()
    monitored.predict("2013-05", rows=400)
    monitored.monitor("2013-05")
    assert monitored.health("2013-05").drift.multivariate.status == "steady"
    log = monitored.home / "prediction_log" / "late" / "1-1-2013-05.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.rename(log.with_name("before"))
    shutil.rmtree(monitored.home / "lake" / "predictions")
    for line in lines:  # far flights start at one airport now; as many as before
        line["features"]["origin"] = ["EWR" if line["features"]["distance"][0] > 500 else "JFK"]
    log.with_name("1-2-2013-05.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monitored.monitor("2013-05")
    drift = monitored.health("2013-05").drift
    assert (drift.drifted, drift.status, drift.multivariate.status) == ((), "drifted", "drifted")
    assert {one.feature for one in drift.multivariate.importances} == {"distance", "origin"}
    page = Path(monitored.health("2013-05").report).read_text()
    assert "all together have" in page
    assert "Permutation importance for the classifier" in page
    is_self_contained(page)


def test_a_snapshot_that_is_gone_leaves_the_rest_of_the_health_as_it_is(monitored: MonitoredModel) -> None:
    monitored.keep_reference()
    for path in (monitored.home / "lake" / "snapshots" / "objects").glob("*.parquet"):
        path.unlink()
    monitored.month("2013-05")
    drift = monitored.health("2013-05").drift
    assert (drift.status, drift.multivariate.status) == ("steady", "unknown")
    page = Path(monitored.health("2013-05").report).read_text()
    assert "Not judged" in page and "can&#39;t be read" in page


def test_a_window_with_far_fewer_predictions_than_earlier_ones_says_so_on_its_page(monitored: MonitoredModel) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    for month in range(1, 6):
        monitored.month(f"2012-{month:02d}", rows=100)
    monitored.month("2012-06", rows=40)
    fifth, sixth = monitored.health("2012-05"), monitored.health("2012-06")
    assert "5 earlier windows" in fifth.data_quality.row_count.not_judged
    assert "is not judged: fewer than 5 earlier windows" in Path(fifth.report).read_text()
    sentence = "unusually few predictions: 40; the median of 5 earlier windows is 100"
    assert sixth.data_quality.findings[0].startswith(sentence)
    assert sentence in Path(sixth.report).read_text()
    with pytest.raises(AirflowSkipException):  # a finding starts nothing
        monitored.ask()


def test_truth_that_is_there_before_the_predictions_counts_once_they_come(monitored: MonitoredModel) -> None:
    monitored.predict("2013-05")
    log = monitored.home / "prediction_log" / "late" / "1-1-2013-05.jsonl"
    lines = log.read_text()
    log.write_text("")
    monitored.truth_arrives("2013-05")
    monitored.monitor("2013-05")
    before = monitored.health("2013-05")
    assert (before.status, before.service.truth_unknown) == ("empty", 300)
    log.write_text(lines)
    monitored.monitor("2013-05")
    after = monitored.health("2013-05")
    assert (after.status, after.rows, after.service.truth_unknown) == ("complete", 300, 0)


def test_two_windows_measured_at_once_are_as_if_measured_one_after_the_other(monitored: MonitoredModel) -> None:
    from concurrent.futures import ThreadPoolExecutor

    windows = ("2013-03", "2013-04", "2013-05")
    for window in windows:
        monitored.predict(window)
        monitored.truth_arrives(window)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(monitored.monitor, windows))
    at_once = {window: monitored.health(window) for window in windows}
    for window in windows:
        monitored.monitor(window)
        alone = monitored.health(window)
        for part in ("predictions", "rows", "status", "quality", "drift", "estimate"):
            assert getattr(at_once[window], part) == getattr(alone, part)
        assert (alone.predictions, alone.service.duplicates) == (300, 0), "each logged row once"


def test_rows_in_two_logs_are_counted_once_for_drift_too(monitored: MonitoredModel) -> None:
    monitored.predict("2013-05", rows=300)
    log = monitored.home / "prediction_log" / "late" / "1-1-2013-05.jsonl"
    monitored.monitor("2013-05")
    alone = monitored.health("2013-05")
    (log.parent / "1-1-again.jsonl").write_text("".join(log.read_text().splitlines(keepends=True)[:200]))
    monitored.monitor("2013-05")
    row = monitored.health("2013-05")
    assert (row.service.duplicates, row.data_quality.rows) == (200, 300)
    assert row.drift == alone.drift
    assert row.slices == alone.slices


def test_late_truth_and_late_predictions_bring_earlier_windows_up_to_date(monitored: MonitoredModel) -> None:
    monitored.predict("2013-04")
    monitored.monitor("2013-04")
    assert monitored.health("2013-04").status == "waiting"
    assert "has not arrived" in monitored.health("2013-04").truth_problem
    monitored.truth_arrives("2013-04")
    monitored.predict("2013-05")
    assert monitored.monitor("2013-05")["windows"] == ["2013-04", "2013-05"]
    assert monitored.health("2013-04").status == "complete"
    monitored.predict("2013-04", rows=10, version="2")
    monitored.bundle("2")
    assert monitored.monitor("2013-05")["windows"] == ["2013-04", "2013-05"]
    assert monitored.health("2013-04").predictions == 310
    assert monitored.monitor("2013-05")["windows"] == ["2013-05"]


def test_measuring_again_gives_the_same_health(monitored: MonitoredModel) -> None:
    monitored.month("2013-05")
    before = monitored.health("2013-05")
    monitored.monitor("2013-05")
    assert monitored.health("2013-05") == before


def test_truth_that_cannot_be_read_holds_with_its_reason_on_the_page(monitored: MonitoredModel) -> None:
    monitored.predict("2013-05")
    (monitored.home / "truth").mkdir()
    pd.DataFrame({"id": ["a"], "wrong": [1]}).to_parquet(monitored.home / "truth" / "2013-05.parquet")
    monitored.monitor("2013-05")
    row = monitored.health("2013-05")
    assert row.status == "waiting"
    assert "lacks the columns late" in row.truth_problem
    assert "lacks the columns late" in Path(row.report).read_text().partition("over time")[0]


def test_a_window_with_one_class_and_an_empty_one_are_published_without_figures(monitored: MonitoredModel) -> None:
    monitored.predict("2013-04")
    monitored.truth["2013-04"]["late"] = False
    monitored.truth_arrives("2013-04")
    monitored.monitor("2013-04")
    assert monitored.health("2013-04").quality["roc_auc"].value is None
    assert monitored.monitor("2013-05")["status"] == "empty"
    assert Path(monitored.health("2013-05").report).exists()


def test_quality_is_estimated_before_truth_and_held_against_it_afterwards(monitored: MonitoredModel) -> None:
    monitored.predict("2013-05")
    monitored.monitor()
    row = monitored.health("2013-05")
    assert (row.status, row.estimate.truth) == ("waiting", {})
    expected = row.estimate.quality["roc_auc"]
    assert (expected.low, expected.value > 0.5, expected.high) == (None, True, None)
    page = Path(row.report).read_text()
    assert "conditional on an unchanged relation" in page
    assert "estimate for its 300 predictions" in page
    assert "actual</th>" not in page
    monitored.truth_arrives("2013-05")
    monitored.monitor()
    after = monitored.health("2013-05").estimate
    assert after.quality["roc_auc"] == expected, "truth must not change what was expected before it"
    assert after.truth["roc_auc"].inside is None, "no interval is known to hold before ten windows"
    assert "actual</th>" in Path(row.report).read_text()


def test_a_version_from_before_estimates_is_measured_without_one(monitored: MonitoredModel) -> None:
    (monitored.home / "artifacts" / "late" / "1" / "estimator.json").unlink()
    monitored.month("2013-05")
    assert monitored.health("2013-05").estimate is None
    assert "before ground truth</h2>" not in Path(monitored.health("2013-05").report).read_text()


def test_the_history_page_shows_every_window_and_pages_link_to_each_other(monitored: MonitoredModel) -> None:
    for window in WINDOWS:
        monitored.month(window)
    folder = monitored.home / "reports" / "late"
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


def test_the_page_of_an_earlier_window_says_what_was_known_then(monitored: MonitoredModel) -> None:
    monitored.month("2013-03", noise=2.0)
    monitored.month("2013-04", noise=2.0)
    monitored.release("2")
    monitored.month("2013-05", version="2")
    folder = monitored.home / "reports" / "late"
    assert "<b>degraded</b>" in (folder / "2013-04.html").read_text(), "though version 2 serves now"
    assert "<b>healthy</b>" in (folder / "2013-05.html").read_text()
