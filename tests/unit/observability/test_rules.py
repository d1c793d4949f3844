"""Alert rules: each is tried, firing and not, says what to do, and has its runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT

RULES = sorted((PROJECT / "include" / "observability" / "rules").glob("*.yml"))
TESTS = sorted(Path(__file__).parent.glob("*.yml"))
RUNBOOKS = PROJECT / "docs" / "runbooks"


def alerts() -> dict[str, dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


each_alert = pytest.mark.parametrize("name", alerts())


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Any) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


@each_alert
def test_an_alert_is_tried_firing_and_not_firing(name: Any) -> None:
    """An alert that can't fire is worse than none."""
    tried = set()
    for path in TESTS:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for case in group.get("promql_expr_test", []):
                if f'ALERTS{{alertname="{name}"' in case["expr"]:
                    tried.add(bool(case["exp_samples"]))
            tried |= {bool(c["exp_alerts"]) for c in group.get("alert_rule_test", []) if c["alertname"] == name}
    assert tried == {True, False}


@each_alert
def test_an_alert_says_how_bad_it_is_and_what_to_do(name: Any) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
    for part in ("summary", "description"):
        assert len(rule["annotations"][part]) > 10, part


@each_alert
def test_an_alert_has_a_runbook_with_the_three_parts(name: Any) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["What it means", "First look", "What to do"]


def test_no_runbook_is_of_an_alert_that_is_gone() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(alerts())


def test_only_alerts_that_name_a_model_ask_for_a_retraining() -> None:
    asking = [name for name, rule in alerts().items() if rule["labels"].get("retrain") == "true"]
    assert asking == ["ModelQualityDegraded"]
