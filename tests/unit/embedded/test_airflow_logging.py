"""Logs of tasks are read from this machine's files; no server is asked for them, and no warning fills them."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from airflow._shared.module_loading.file_discovery import find_path_from_directory
from airflow.utils.log.file_task_handler import FileTaskHandler

from include.embedded.airflow_logging import LOGGING_CONFIG, LocalTaskHandler
from include.embedded.environment import airflow_environment
from include.embedded.platform import make_secrets
from include.settings import PROJECT, Settings


class RunningTask(NamedTuple):
    """What the reader asks of a task instance."""

    state: str = "running"
    hostname: str = "127.0.0.1"
    try_number: int = 1
    triggerer_job: None = None
    task: None = None


def read(handler: FileTaskHandler, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the web UI shows of the task's log; the parts that ask Airflow's database are replaced."""
    task: Any = RunningTask()
    monkeypatch.setattr(handler, "_render_filename", lambda *_: "attempt=1.log")
    monkeypatch.setattr(handler, "_get_executor_get_task_log", lambda _: lambda *_: ([], []))
    shown, _ = handler._read(task, 1)
    return "\n".join(str(line) for line in shown)


@pytest.mark.parametrize(("kind", "asks"), [(FileTaskHandler, True), (LocalTaskHandler, False)])
def test_a_running_task_shows_its_file_and_no_server_is_asked(
    kind: type[FileTaskHandler], asks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Airflow's own handler no longer asks, ours is no longer needed."""
    (tmp_path / "attempt=1.log").write_text("it works\n", encoding="utf-8")
    monkeypatch.setenv("AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT", "1")
    text = read(kind(str(tmp_path)), monkeypatch)
    assert "it works" in text
    assert ("Could not read served logs" in text) is asks


def run_as_airflow(home: Path, code: str) -> list[str]:
    """The lines that the code prints in the environment of the platform's processes."""
    settings = Settings(home=home)
    (home / "secrets").mkdir()
    make_secrets(settings)
    environment = airflow_environment(settings)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (done.stdout + done.stderr).splitlines()


def test_airflow_reads_logs_with_it(tmp_path: Path) -> None:
    """As the api-server does: the handler comes from Airflow's configuration."""
    code = (
        "from airflow.utils.log.log_reader import TaskLogReader; import airflow.logging_config as c; "
        "c.configure_logging(); print(type(TaskLogReader().log_handler).__name__)"
    )
    assert "LocalTaskHandler" in run_as_airflow(tmp_path, code)


def test_the_scheduler_does_not_repeat_that_an_event_waits_for_a_paused_dag(tmp_path: Path) -> None:
    code = (
        "import airflow.settings; airflow.settings.initialize(); from airflow.models.dag import log; "
        "log.info('Asset-triggered Dags with queued events: %s', {}); log.warning('a Dag has old serialization')"
    )
    said = "\n".join(run_as_airflow(tmp_path, code))
    assert "old serialization" in said
    assert "queued events" not in said


def test_only_the_reader_of_logs_differs_from_airflows_own_logging() -> None:
    from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG

    assert LOGGING_CONFIG["handlers"]["task"]["class"] == "include.embedded.airflow_logging.LocalTaskHandler"
    ours = {**LOGGING_CONFIG, "handlers": {**LOGGING_CONFIG["handlers"], "task": None}}
    assert ours == {**DEFAULT_LOGGING_CONFIG, "handlers": {**DEFAULT_LOGGING_CONFIG["handlers"], "task": None}}
    assert logging.Handler in LocalTaskHandler.__mro__


@pytest.mark.parametrize("syntax", ["glob", "regexp"])
def test_the_plugins_are_found_by_both_syntaxes_and_without_a_warning_by_ours(syntax: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        files = list(find_path_from_directory(str(PROJECT / "plugins"), ".airflowignore", syntax))
    assert [Path(file).name for file in files if file.endswith(".py")] == ["evergreen_plugin.py"]
    assert syntax == "glob" or not caught
