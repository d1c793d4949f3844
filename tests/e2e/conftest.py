"""The demo, played once a session on ports and folders of its own, for all end-to-end tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from demo.airflow_client import AirflowClient
from include.settings import PROJECT
from tests.support.ports import free_ports, free_range

MONTHS = ["2013-03", "2013-04", "2013-05", "2013-06"]


@pytest.fixture(scope="session")
def environment():
    """The environment of an installation of its own; whatever happens, the platform is down afterwards."""
    home = Path(tempfile.mkdtemp(prefix="eg-"))  # short: sockets live below it
    names = ("AIRFLOW", "MLFLOW", "GATEWAY", "WORKER_LOG", "TRIGGER_LOG")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "EVERGREEN"))}
    values = {
        **inherited,
        **{f"EVERGREEN_{name}_PORT": str(port) for name, port in zip(names, free_ports(len(names)), strict=True)},
        "EVERGREEN_SERVER_PORTS": free_range(),
        "EVERGREEN_HOME": str(home / "h"),
        "PYTHONPATH": f"{PROJECT}:{PROJECT / 'plugins'}",
    }
    yield values
    run(values, "include.embedded", "down")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def played(environment):
    """The demo, played once."""
    return run(environment, "demo", "--months", str(len(MONTHS)), "--rows-per-month", "2500")


@pytest.fixture(scope="session")
def report(environment, played):
    assert played.returncode == 0, played.stdout[-6000:] + played.stderr[-6000:]
    path = Path(environment["EVERGREEN_HOME"]) / "demo" / "report.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def airflow(environment, report):
    home = Path(environment["EVERGREEN_HOME"])
    password = (home / "secrets" / "admin_password").read_text(encoding="utf-8").strip()
    return AirflowClient(f"http://127.0.0.1:{environment['EVERGREEN_AIRFLOW_PORT']}", "admin", password)


def run(environment, module, *arguments) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=1500)
