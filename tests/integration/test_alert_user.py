"""The Airflow user of Alertmanager in compose.yaml, in Airflow's real FAB manager: may start runs, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.integration
PROGRAM = """
import json
from airflow.utils.db import initdb
initdb()
from include.embedded.compose import make_users
make_users("admin-password", "old-password")
make_users("another", "new-password")
from airflow.api_fastapi.app import create_app
from fastapi.testclient import TestClient

client = TestClient(create_app(apps="core"))


def log_in(name, password):
    return client.post("/auth/token", json={"username": name, "password": password})


def ask(method, path, user, **more):
    token = log_in(*user).json()["access_token"]
    return client.request(method, f"/api/v2/{path}", headers={"Authorization": f"Bearer {token}"}, **more).status_code


alerts = ("alertmanager", "new-password")
runs = "dags/late.retraining/dagRuns"
found = {
    "admin keeps the password": log_in("admin", "admin-password").status_code,
    "the old password": log_in("alertmanager", "old-password").status_code,
    "start a run": ask("POST", runs, alerts, json={"logical_date": None}),
    "delete a run": ask("DELETE", f"{runs}/x", alerts),
    "connections": ask("GET", "connections", alerts),
    "variables": ask("GET", "variables", alerts),
}
print("FOUND " + json.dumps(found))
"""


def test_alertmanagers_user_may_start_runs_and_nothing_else(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path / 'airflow.db'}",
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        "AIRFLOW__API__SECRET_KEY": "k" * 64,
        "AIRFLOW__API_AUTH__JWT_SECRET": "j" * 64,
        "PYTHONPATH": f"{PROJECT}:{PROJECT / 'plugins'}",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert json.loads(line.removeprefix("FOUND ")) == {
        "admin keeps the password": 201,
        "the old password": 401,
        "start a run": 404,  # allowed; there is no such DAG in this database
        "delete a run": 403,
        "connections": 403,
        "variables": 403,
    }
