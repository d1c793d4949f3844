"""The whole loop as a user plays it: a short demo, and nothing left after it."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from typing import Any

import psutil
import pytest

from demo.airflow_client import AirflowClient
from tests.e2e.conftest import MONTHS, play, read_report
from tests.support.running_platform import Completed, Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

RECORDED_STAGES = {"ci", "training", "deployment", "monitoring", "retraining"}


def test_each_month_was_measured_and_the_version_changed_after_its_incident(report: dict[str, Any]) -> None:
    assert [row["month"] for row in report["months"]] == MONTHS
    for row in report["months"]:
        assert 0.5 < row["low"] < row["value"] < row["high"] < 0.9
        assert 0.5 < row["without_retraining"] < 0.9
    assert report["months"][0]["live_version"] == "1"
    assert report["months"][-1]["live_version"] != "1"


def test_a_retraining_improved_production(report: dict[str, Any]) -> None:
    assert report["success"]
    improved = [retraining for retraining in report["retrainings"] if retraining["improved"]]
    assert improved and improved[0]["replaced"] == "1" and improved[0]["difference"] > 0


def test_every_release_really_answered_the_next_months_requests(report: dict[str, Any]) -> None:
    """A deployment that was rolled back must never be told of as a release."""
    expected = "1"
    for row in report["months"]:
        assert row["live_version"] == expected
        released = [
            release for release in report["releases"] if release["month"] == row["month"] and release["promoted"]
        ]
        expected = released[-1]["version"] if released else expected


def test_no_task_of_any_stage_failed(report: dict[str, Any], airflow: AirflowClient) -> None:
    for stage in report["stages"]:
        states = {task["task_id"]: task["state"] for task in airflow.tasks(stage["dag_id"], stage["run_id"])}
        assert not {"failed", "upstream_failed"} & set(states.values()), (stage, states)


def test_no_request_failed_also_not_during_the_canaries(report: dict[str, Any]) -> None:
    assert report["traffic"]["failures"] == []
    assert report["traffic"]["failed"] == 0
    assert report["traffic"]["rows"] >= 2500 * len(MONTHS)


def test_every_stage_is_a_real_run_that_airflow_knows(report: dict[str, Any], airflow: AirflowClient) -> None:
    assert {stage["stage"] for stage in report["stages"]} == RECORDED_STAGES
    counts = Counter(stage["stage"] for stage in report["stages"])
    assert counts["ci"] == 2 and counts["monitoring"] == counts["retraining"] == len(MONTHS)
    for stage in report["stages"]:
        found = airflow.run(stage["dag_id"], stage["run_id"])
        assert found is not None, stage
        assert found["state"] == stage["state"] == "success"
        assert found["start_date"] == stage["started"] and found["end_date"] == stage["ended"]


def test_every_deployments_note_says_that_its_version_is_in_production(
    report: dict[str, Any], airflow: AirflowClient
) -> None:
    deployments = [stage for stage in report["stages"] if stage["stage"] == "deployment"]
    runs = [airflow.run(stage["dag_id"], stage["run_id"]) or {} for stage in deployments]
    assert runs and all("is in production" in run["note"] for run in runs), runs


def test_the_training_of_an_incident_has_its_key_as_run_id(report: dict[str, Any]) -> None:
    incidents = [row["incident"] for row in report["months"] if row["incident"]]
    runs = [stage["run_id"] for stage in report["stages"] if stage["stage"] == "training"]
    assert incidents
    for incident in incidents:
        assert runs.count(f"incident__{incident}") == 1


def test_picture_and_page_are_there(platform: Platform, report: dict[str, Any]) -> None:
    folder = platform.settings.home / "demo"
    assert (folder / "auc_by_month.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(month in page for month in MONTHS) and "data:image/png;base64," in page


def test_the_end_of_the_output_says_where_everything_is(platform: Platform, played: Completed) -> None:
    for url in (platform.airflow_url, platform.mlflow_url, platform.gateway_url):
        assert url in played.stdout
    assert "curl" in played.stdout


def test_the_curl_example_works_as_printed(played: Completed) -> None:
    start = played.stdout.index("curl -s")
    command = played.stdout[start:].split("\n\n")[0]
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    predictions = json.loads(done.stdout)["outputs"][0]["data"]
    assert len(predictions) == 2 and all(0 <= value <= 1 for value in predictions)


def test_no_import_errors(platform: Platform, report: dict[str, Any]) -> None:
    done = platform.command("env", "--", "airflow", "dags", "list-import-errors", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert "No data found" in done.stdout or done.stdout.strip().splitlines()[-1] == "[]"


def test_a_second_demo_says_so_and_does_nothing_again(platform: Platform, report: dict[str, Any]) -> None:
    again = play(platform)
    assert again.returncode == 0, again.stderr
    assert "had already finished" in again.stdout
    assert read_report(platform)["stages"] == report["stages"]


def test_down_leaves_no_process(platform: Platform, report: dict[str, Any]) -> None:
    assert platform.command("down").returncode == 0
    home, left = str(platform.settings.home), []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if process.environ().get("EVERGREEN_INSTANCE") == home or any(home in part for part in command):
                left.append(command)
        except psutil.Error:
            continue
    assert left == []
