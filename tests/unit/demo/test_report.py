"""The report: judged honestly, drawn and rendered from plain figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from demo import report
from demo.progress import Progress
from demo.terminal import Terminal
from tests.integration.demo_results import RELEASES, SCORES, demo_result, release


def test_a_retraining_is_judged_on_the_months_that_it_served_only() -> None:
    judged = report.judge(RELEASES[1], RELEASES, SCORES)
    assert judged["served"] == ["2013-05", "2013-06"]  # its own training data would flatter it
    assert judged["difference"] == pytest.approx(0.04)
    assert judged["improved"]


def test_a_retraining_is_judged_until_the_next_release() -> None:
    releases = [*RELEASES, release("commit", "2013-05", "3", "2", 3)]
    assert report.judge(RELEASES[1], releases, SCORES)["served"] == ["2013-05"]


def test_a_candidate_that_was_not_promoted_improved_nothing() -> None:
    refused = release("incident", "2013-04", "2", None, 2, promoted=False)
    assert report.judge(refused, [RELEASES[0], refused], SCORES)["improved"] is False


def test_a_worse_month_is_not_called_an_improvement() -> None:
    scores = {**SCORES, "2": dict.fromkeys(SCORES["1"], 0.5)}
    assert report.judge(RELEASES[1], RELEASES, scores)["improved"] is False


def test_without_a_month_served_the_holdout_of_the_promotion_counts() -> None:
    last = release("incident", "2013-06", "2", "1", 2)
    judged = report.judge(last, [RELEASES[0], last], SCORES)
    assert judged["served"] == [] and judged["difference"] == 0.01 and judged["improved"]


@pytest.fixture
def result() -> Any:
    return demo_result()


def test_report_json_picture_and_page_are_written(result: Any, tmp_path: Path) -> None:
    paths = report.write(result, tmp_path, "http://127.0.0.1:8080")
    assert [path.name for path in paths] == ["report.json", "auc_by_month.png", "report.html"]
    assert json.loads(paths[0].read_text()) == result
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    page = paths[2].read_text()
    assert "data:image/png;base64," in page
    assert 'src="http' not in page and "<link" not in page and "url(" not in page  # nothing is loaded from elsewhere
    assert 'href="http://127.0.0.1:8080/dags/flights.ci/runs/a%3Cb%3E"' in page
    assert "&lt;b&gt;odd" in page and "<b>odd" not in page
    assert "retrained: version 2" in page


def test_the_terminal_shows_each_month_and_each_retraining(result: Any) -> None:
    terminal = Terminal(Console(record=True, width=200, force_terminal=False))
    terminal.month(result["months"][0])
    terminal.summary(result, report.events_by_month(result))
    shown = terminal.console.export_text()
    assert "AUC not measured" in shown
    for month in SCORES["1"]:
        assert month in shown
    assert "version 2 replaced version 1: AUC +0.040 in 2013-05, 2013-06" in shown


def test_steps_are_done_once_also_by_the_next_process(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "progress.json")
    assert progress.once("month/2013-03/traffic", lambda: {"rows": 1}) == {"rows": 1}
    again = Progress(tmp_path / "progress.json")
    assert again.once("month/2013-03/traffic", lambda: pytest.fail("done before")) == {"rows": 1}
    assert again.ran == 0 and progress.ran == 1


def test_a_step_that_fails_is_not_recorded(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "progress.json")
    with pytest.raises(ZeroDivisionError):
        progress.once("ci/first", lambda: 1 / 0)
    assert not Progress(tmp_path / "progress.json").done("ci/first")


def test_seconds_add_up_by_prefix_without_mixing_names(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "progress.json")
    progress.steps = {name: {"seconds": 1.0} for name in ("month/2013-01/a", "month/2013-01/b", "month/2013-010/a")}
    assert progress.seconds("month/2013-01") == 2.0
