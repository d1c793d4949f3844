"""A running platform for the tests that need one: started once a session, in a home and on ports of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests
import yaml

from include.adapters.files import write_private
from include.settings import Settings
from tests.conftest import PROJECT
from tests.support.ports import free_ports, free_range
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.integration.test_monitoring import House

SECONDS_TO_START = 300


@dataclass
class Platform:
    """A running platform; ``env`` makes any process see it as its own."""

    settings: Settings
    env: dict[str, str]
    house: House | None = None
    _token: str = field(default="", repr=False)

    @property
    def lake(self) -> Path:
        """Where the shared platform's models have their data: outside of its home, whose files are its own."""
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

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``python -m include.embedded`` with these arguments."""
        command = [sys.executable, "-m", "include.embedded", *arguments]
        return subprocess.run(
            command, cwd=PROJECT, env=self.env, capture_output=True, text=True, timeout=SECONDS_TO_START, check=False
        )

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


def new_platform(home: Path) -> Platform:
    """A platform in this folder, not started yet, on ports that are free now."""
    airflow, mlflow, gateway, prometheus = free_ports(4)
    settings = Settings(
        home=home.resolve(),
        airflow_port=airflow,
        mlflow_port=mlflow,
        gateway_port=gateway,
        server_ports=free_range(),
        prometheus="prometheus" if shutil.which("prometheus") else "",
        prometheus_port=prometheus,
    )
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
    return Platform(settings, {**os.environ, **mine})


RIDES: dict[str, Any] = {
    "name": "rides",
    "description": "How long rides take.",
    "repository": {"url": "repositories/rides.git"},
    "task": "regression",
    "target": "minutes",
    "truth": {"source": {"path": "rides/truth/{window}.parquet"}, "key": "id", "column": "minutes"},
    "data": {"source": {"path": "rides/data/{window}.parquet"}, "key": "id", "event_time": "at"},
    "metrics": {"primary": "mae", "also": ["r2"]},
}
"""What tells the model ``rides`` from ``late``."""
ON_NEW_DATA = ("fares", "tides")
"""Models of the shared platform that train on new data; their code is in a repository that is not there."""


def watching_model(name: str) -> str:
    """The model.yaml of a model that trains on new data."""
    return f"""
schema: 1
name: {name}
owner: tests
description: Made for tests.
repository: {{url: repositories/shared.git}}
task: regression
target: y
features: [{{name: x, type: number}}]
data: {{source: {{path: "{name}/{{window}}.parquet"}}, key: id, event_time: at, rows_at_least: 10}}
truth: {{source: {{path: "truth/{{window}}.parquet"}}, key: id, column: y}}
training: {{on_new_data: true}}
metrics: {{primary: mae}}
monitoring: {{window: month, schedule: null}}
degradation: {{drop: 1.0}}
"""


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """The platform that the modules of one session share; what each expects of it: tests.conftest.ON_THE_PLATFORM.

    Its models: ``flights``; ``fares`` and ``tides``, which train on new data; ``late``, monthly, which House looks
    after; ``rides``, weekly and never released.
    """
    from tests.integration.model_bundle import TOKEN
    from tests.integration.test_monitoring import MODEL

    root = Path(tempfile.mkdtemp(prefix="eg-"))  # short: sockets lie below it
    running = new_platform(root / "h")
    models, home = root / "models", running.settings.home
    shutil.copytree(PROJECT / "include" / "models" / "flights", models / "flights")
    by_hand = {**MODEL["monitoring"], "schedule": None}  # a scheduled run would measure this year's windows, empty ones
    for name, text in {
        **{name: watching_model(name) for name in ON_NEW_DATA},
        "late": yaml.safe_dump(MODEL | {"monitoring": by_hand}),
        "rides": yaml.safe_dump(MODEL | RIDES | {"monitoring": {**by_hand, "window": "week"}}),
    }.items():
        (models / name).mkdir()
        (models / name / "model.yaml").write_text(text, encoding="utf-8")
    (home / "secrets").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    write_private(home / "secrets" / "prediction_token", TOKEN)
    running.env |= {
        "EVERGREEN_MODELS": str(models),
        "EVERGREEN_DATA_POLL_SECONDS": "1",
        "AIRFLOW_CONN_EVERGREEN_LAKE": json.dumps({"conn_type": "fs", "extra": {"path": str(running.lake)}}),
    }
    try:
        running.up()
        yield running
    finally:
        running.down()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def house(platform: Platform) -> Iterator[House]:
    """The model ``late`` on the shared platform, released once; this process sees the platform as its own."""
    from tests.integration.test_monitoring import House

    with pytest.MonkeyPatch.context() as patch:
        for name, value in platform.env.items():
            if name.startswith(("EVERGREEN_", "AIRFLOW_CONN_EVERGREEN_")):
                patch.setenv(name, value)
        patch.delenv("EVERGREEN_STORE_URL", raising=False)
        made = platform.house = platform.house or House(platform.settings.home, platform.lake)
        patch.setattr("include.stages.installation.open_installation", lambda: made.installation)
        yield made
