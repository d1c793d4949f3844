"""`make status`: the parts of the platform, its models, exit codes, and that it shows no password."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from include.core.health.summary import WindowSummary
from include.embedded.__main__ import EXIT_CODES, addresses, main
from include.embedded.status import BuildStatus, CanaryStatus, ModelStatus, PartStatus, PlatformStatus, fault
from include.settings import Settings
from tests.support.health_rows import health_row


@pytest.mark.parametrize(
    ("state", "answers", "expected"),
    [
        ("RUNNING", {"part": None}, None),
        ("RUNNING", {"part": "no heartbeat"}, "no heartbeat"),
        ("RUNNING", {}, None),
        ("STARTING", {"part": None}, None),
        ("STARTING", {"part": "connection refused"}, "connection refused"),
        ("STARTING", {}, "supervisord reports STARTING"),
        ("FATAL", {"part": None}, "supervisord reports FATAL"),
        (None, {}, "supervisord reports MISSING"),
    ],
)
def test_a_program_that_responds_is_healthy_though_supervisord_calls_it_starting(
    state: str | None, answers: dict[str, str | None], expected: str | None
) -> None:
    assert fault("part", {"part": state} if state else {}, answers) == expected


PARTS = (PartStatus("caddy", "RUNNING", "http://127.0.0.1:8000", None),)
MODEL = ModelStatus(
    "late",
    state="degraded",
    sentence="roc_auc of version 2 is beyond the allowed drop in 2013-05",
    live="2",
    canary=CanaryStatus("3", 10, "run"),
    window=WindowSummary.of(health_row("2013-05", 0.71234)),
    incident="late-2013-05",
    build=BuildStatus("0123456789abcdef", "failed", "test: \x1b[31m2 tests\nfailed."),
)


def test_each_model_has_one_line_with_all_that_matters() -> None:
    text = PlatformStatus(
        True, PARTS, (MODEL, ModelStatus("never", "not deployed", "No version has reached production yet"))
    ).as_text()
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "part state address health"
    assert lines[1] == "caddy RUNNING http://127.0.0.1:8000 healthy"
    assert lines[3] == "model live canary newest window open incident newest build state"
    assert lines[4] == (
        "late 2 3 at 10 % 2013-05: roc_auc 0.7123 late-2013-05 failed 0123456789ab: test: [31m2 tests failed. "
        "degraded: roc_auc of version 2 is beyond the allowed drop in 2013-05"
    ), "what a commit wrote neither breaks the line nor controls the terminal"
    assert lines[5] == "never - - - - - not deployed: No version has reached production yet"


def test_the_estimate_is_shown_while_truth_is_missing() -> None:
    waiting = replace(WindowSummary.of(health_row("2013-06", None, status="waiting")), estimate=0.7)
    text = PlatformStatus(True, PARTS, (ModelStatus("late", window=waiting),)).as_text()
    assert "2013-06: roc_auc 0.7 (estimated)" in text


@pytest.mark.parametrize(
    ("status", "healthy"),
    [
        (PlatformStatus(True, PARTS, (MODEL,)), True),
        (PlatformStatus(True, (PartStatus("caddy", "FATAL", "", "is down"),), ()), False),
        (PlatformStatus(True, PARTS, (ModelStatus("late", problem="model.yaml is invalid"),)), False),
        (PlatformStatus(running=False), False),
    ],
)
def test_a_degraded_model_is_no_fault_of_the_platform(status: PlatformStatus, healthy: bool) -> None:
    assert status.healthy is healthy
    assert json.loads(status.as_json())["healthy"] is healthy


def test_the_json_has_the_same_as_the_tables() -> None:
    document = json.loads(PlatformStatus(True, PARTS, (MODEL,)).as_json())
    assert document["parts"] == [
        {"name": "caddy", "state": "RUNNING", "address": "http://127.0.0.1:8000", "problem": None}
    ]
    (model,) = document["models"]
    assert (model["live"], model["canary"]["share"], model["incident"]) == ("2", 10, "late-2013-05")
    assert (model["state"], model["build"]["status"]) == ("degraded", "failed")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation that has been set up, but is down."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("admin_password", "mlflow_password", "prediction_token"):
        (secrets / name).write_text(f"the-{name}", encoding="utf-8")
    return tmp_path


def test_status_of_a_platform_that_is_down(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert home.exists()
    assert main(["status"]) == 1
    assert capsys.readouterr().out == "the platform is down. 'make up' starts it.\n"
    assert main(["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"healthy": False, "running": False, "parts": [], "models": []}


def test_a_restart_of_servers_needs_a_running_platform_and_a_model(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert home.exists()
    assert main(["restart", "late"]) == 1
    assert "make up" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["restart"])


def test_status_says_what_its_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["status", "--help"], ["--help"]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert EXIT_CODES in capsys.readouterr().out
    with pytest.raises(SystemExit) as refused:
        main(["status", "--xml"])
    assert refused.value.code == 2


def test_only_passwords_prints_passwords(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What 'up' and 'status' print ends up in recordings of terminals and in tickets."""
    settings = Settings(home=home, prometheus="prometheus")
    assert "the-" not in addresses(settings)
    assert "make passwords" in addresses(settings)
    assert main(["passwords"]) == 0
    assert capsys.readouterr().out.split() == [
        *("web", "UI", "admin", "/", "the-admin_password"),
        *("MLflow", "admin", "/", "the-mlflow_password"),
    ]


def test_before_the_first_start_there_are_no_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    assert main(["passwords"]) == 1
    assert "make up" in capsys.readouterr().err
