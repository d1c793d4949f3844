"""A running platform, for the suites that need one: a home, ports and an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from include.settings import PROJECT, Settings
from tests.support.ports import free_ports, free_range
from tests.support.waiting import wait_for

Completed = subprocess.CompletedProcess[str]

SECONDS_TO_START = 300


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path is short whoever runs the tests and how often: a platform's sockets lie below it."""
    folder = Path(tempfile.mkdtemp(prefix="eg-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Platform:
    """A running platform; ``env`` makes any process see it as its own."""

    settings: Settings
    env: dict[str, str]
    _token: str = field(default="", repr=False)

    @property
    def lake(self) -> Path:
        """Where the models of the integration tests have their data: outside of its home, whose files are its own."""
        return self.settings.home.parent / "lake"

    @property
    def airflow_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.airflow_port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.mlflow_port}"

    @property
    def prometheus_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.prometheus_port}"

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.gateway_port}"

    def run_module(self, module: str, *arguments: str, seconds: float = SECONDS_TO_START) -> Completed:
        """Run ``python -m module`` with these arguments."""
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(
            command, cwd=PROJECT, env=self.env, capture_output=True, text=True, timeout=seconds, check=False
        )

    def command(self, *arguments: str) -> Completed:
        """Run ``python -m include.embedded`` with these arguments."""
        return self.run_module("include.embedded", *arguments)

    def up(self) -> None:
        done = self.command("up")
        assert done.returncode == 0, done.stdout + done.stderr

    def down(self) -> None:
        done = self.command("down")
        assert done.returncode == 0, done.stdout + done.stderr

    def token(self) -> str:
        """A bearer token of Airflow's API, as its administrator."""
        if not self._token:
            login = {"username": "admin", "password": self.settings.secret("admin_password")}
            response = requests.post(f"{self.airflow_url}/auth/token", json=login, timeout=30)
            response.raise_for_status()
            self._token = response.json()["access_token"]
        return self._token

    def ask(self, method: str, path: str, **arguments: Any) -> Any:
        """One call of Airflow's API, such as ``ask("GET", "dags")``."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        url = f"{self.airflow_url}/api/v2/{path}"
        response = requests.request(method, url, headers=headers, timeout=30, **arguments)
        assert response.ok, f"{method} {path}: {response.status_code} {response.text}\n{self.log('api-server')}"
        return response.json()

    def log(self, part: str, lines: int = 20) -> str:
        """The end of a part's log."""
        text = (self.settings.home / "logs" / f"{part}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run; returns its id."""
        run = self.ask("POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf or {}})
        return str(run["dag_run_id"])

    def wait(self, dag_id: str, run_id: str, timeout: float) -> str:
        """Wait until the run ends; returns its state."""

        def state() -> str | None:
            found = self.ask("GET", f"dags/{dag_id}/dagRuns/{quote(run_id, safe='')}")["state"]
            return found if found in ("success", "failed") else None

        return str(wait_for(state, timeout, f"the end of {dag_id} {run_id}"))


def new_platform(home: Path, prometheus: str = "") -> Platform:
    """A platform in this folder, not started yet, on ports that are free now; of the tests' settings it inherits none.

    ``prometheus`` is a program; without it, nothing is monitored.
    """
    airflow, mlflow, gateway, prometheus_port = free_ports(4)
    settings = Settings(
        home=home.resolve(),
        airflow_port=airflow,
        mlflow_port=mlflow,
        gateway_port=gateway,
        server_ports=free_range(),
        prometheus=prometheus,
        prometheus_port=prometheus_port,
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "EVERGREEN"))}
    mine = {
        "EVERGREEN_HOME": str(settings.home),
        "EVERGREEN_AIRFLOW_PORT": str(settings.airflow_port),
        "EVERGREEN_MLFLOW_PORT": str(settings.mlflow_port),
        "EVERGREEN_GATEWAY_PORT": str(settings.gateway_port),
        "EVERGREEN_SERVER_PORTS": settings.server_ports,
        "EVERGREEN_PROMETHEUS": settings.prometheus,
        "EVERGREEN_PROMETHEUS_PORT": str(settings.prometheus_port),
        # A failed call of Airflow's API then says why in the test's own output.
        "AIRFLOW__API__EXPOSE_STACKTRACE": "True",
        "PYTHONPATH": f"{PROJECT}:{PROJECT / 'plugins'}",
    }
    return Platform(settings, {**inherited, **mine})
