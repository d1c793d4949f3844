"""The demo, played once on a platform of its own, for all end-to-end tests."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from demo.airflow_client import AirflowClient
from tests.support.running_platform import Completed, Platform, new_platform

MONTHS = ["2013-03", "2013-04", "2013-05", "2013-06"]


@pytest.fixture(scope="session")
def platform(until_group_ends: ExitStack) -> Platform:
    """A platform that the demo starts; whatever happens, it is down afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="eg-"))  # short: sockets lie below it
    platform = new_platform(folder / "h")
    until_group_ends.callback(shutil.rmtree, folder, ignore_errors=True)
    until_group_ends.callback(platform.down)
    return platform


def play(platform: Platform) -> Completed:
    """Play the demo; a second time, it finds that it had finished."""
    months = ("--months", str(len(MONTHS)), "--rows-per-month", "2500")
    return platform.run_module("demo", *months, seconds=1500)


@pytest.fixture(scope="session")
def played(platform: Platform) -> Completed:
    """The demo, played once."""
    return play(platform)


@pytest.fixture(scope="session")
def report(platform: Platform, played: Completed) -> dict[str, Any]:
    """What the demo reports of itself."""
    assert played.returncode == 0, played.stdout[-6000:] + played.stderr[-6000:]
    return read_report(platform)


def read_report(platform: Platform) -> dict[str, Any]:
    """The demo's report as it is now."""
    content = (platform.settings.home / "demo" / "report.json").read_text(encoding="utf-8")
    report: dict[str, Any] = json.loads(content)
    return report


@pytest.fixture(scope="session")
def airflow(platform: Platform, report: dict[str, Any]) -> AirflowClient:
    """Airflow's API after the demo."""
    return AirflowClient(platform.airflow_url, "admin", platform.settings.secret("admin_password"))
