"""Airflow's real api-server over a folder of models: with a user of each role, without scheduler and workers.

Dag runs that are started stay queued. That is all that a test of pages, forms and permissions needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from include.adapters.store import Store
from include.settings import PROJECT
from tests.support.ports import free_ports
from tests.support.waiting import wait_for

ROLES = ("viewer", "user", "op", "admin")
"""Names of the users, and of their roles in Airflow's simple auth manager."""


@dataclass
class ApiServer:
    """A running api-server."""

    url: str
    store: Store
    models: Path
    tokens: dict[str, str] = field(default_factory=dict, repr=False)

    def token(self, user: str) -> str:
        """A token of Airflow's API for the user of this role."""
        if user not in self.tokens:
            answer = self.log_in(user, password(user))
            answer.raise_for_status()
            self.tokens[user] = answer.json()["access_token"]
        return self.tokens[user]

    def log_in(self, user: str, secret: str) -> requests.Response:
        """Ask for a token with this password."""
        return requests.post(f"{self.url}/auth/token", json={"username": user, "password": secret}, timeout=30)

    def ask(self, user: str, method: str, path: str, **more: Any) -> requests.Response:
        """A request with the token of a user; anonymous if the user is empty."""
        headers = {**({"Authorization": f"Bearer {self.token(user)}"} if user else {}), **more.pop("headers", {})}
        return requests.request(method, f"{self.url}{path}", headers=headers, timeout=30, allow_redirects=False, **more)

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """The Dag's runs, as the admin sees them."""
        return list(self.ask("admin", "GET", f"/api/v2/dags/{dag}/dagRuns").json()["dag_runs"])


def password(user: str) -> str:
    """The password of a test's user."""
    return f"password-of-{user}"


@contextmanager
def api_server(home: Path, models: Mapping[str, str], fab_users: str = "") -> Iterator[ApiServer]:
    """Start the server for these models (name → text of model.yaml); it ends with the block.

    ``fab_users`` is a program that makes the users in Airflow's FAB auth manager; without it, the simple one has them.
    """
    (port,) = free_ports(1)
    folder, secrets = home / "models", home / "secrets"
    for name, text in models.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "model.yaml").write_text(text, encoding="utf-8")
    secrets.mkdir(mode=0o700)
    (secrets / "prediction_token").write_text("the-token", encoding="utf-8")
    (secrets / "airflow_passwords.json").write_text(json.dumps({role: password(role) for role in ROLES}))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "EVERGREEN"))}
    env = {
        **inherited,
        "EVERGREEN_HOME": str(home),
        "EVERGREEN_MODELS": str(folder),
        "EVERGREEN_MLFLOW_PAGE": f"http://127.0.0.1:{port}/",  # something that answers, for tests that follow the link
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{role}:{role}" for role in ROLES),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(secrets / "airflow_passwords.json"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow' / 'airflow.db'}?timeout=20",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__SECRET_KEY": "k" * 64,
        "AIRFLOW__API_AUTH__JWT_SECRET": "j" * 64,
        "PYTHONPATH": f"{PROJECT}:{PROJECT / 'plugins'}",
    }
    commands = [airflow("db", "migrate"), airflow("dags", "reserialize")]
    if fab_users:
        env["AIRFLOW__CORE__AUTH_MANAGER"] = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
        commands.append([sys.executable, "-c", fab_users])
    (home / "airflow").mkdir()
    for command in commands:
        done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    serve = airflow("api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    with (home / "api-server.log").open("wb") as log:
        process = subprocess.Popen(serve, env=env, cwd=home, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _answers(process, url, home), 180, "the api-server")
        yield ApiServer(url, Store(f"sqlite:///{home / 'evergreen.db'}"), folder)
    finally:
        process.terminate()
        process.wait(60)


def airflow(*arguments: str) -> list[str]:
    """A command of this environment's Airflow."""
    return [sys.executable, "-m", "airflow", *arguments]


def _answers(process: subprocess.Popen[bytes], url: str, home: Path) -> bool:
    assert process.poll() is None, (home / "api-server.log").read_text(encoding="utf-8", errors="replace")[-3000:]
    try:
        return requests.get(f"{url}/api/v2/version", timeout=5).ok
    except requests.ConnectionError:
        return False
