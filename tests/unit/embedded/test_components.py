"""How the components are run and inspected: ports, health, and the configuration of supervisord."""

import configparser
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.embedded import components
from include.embedded.components import commands, problems, supervisor_config, taken_ports
from include.settings import Settings
from tests.support.ports import free_ports


@pytest.fixture
def here(tmp_path: Path) -> Any:
    airflow, mlflow, gateway = free_ports(3)
    return Settings(home=tmp_path / "home", airflow_port=airflow, mlflow_port=mlflow, gateway_port=gateway)


def test_free_ports_are_no_reason_to_complain(here: Any) -> None:
    assert taken_ports(here) == []


def test_a_taken_port_is_named_with_who_wants_it_and_the_setting_that_moves_it(here: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", here.gateway_port))
        other.listen()
        (message,) = taken_ports(here)
    assert str(here.gateway_port) in message
    assert "the gateway" in message
    assert "EVERGREEN_GATEWAY_PORT" in message


def test_two_components_on_one_port_are_reported_before_they_fight_for_it(here: Any) -> None:
    (message,) = taken_ports(replace(here, mlflow_port=here.airflow_port))
    assert "Airflow's web UI" in message
    assert "EVERGREEN_MLFLOW_PORT" in message


def test_supervisord_is_told_every_part_and_survives_odd_paths(tmp_path: Path) -> None:
    odd = Settings(home=tmp_path / "a home, 100%")
    config = configparser.RawConfigParser(inline_comment_prefixes=None)
    config.read_string(supervisor_config(odd))
    programs = {section.partition(":")[2] for section in config.sections() if section.startswith("program:")}
    assert programs == {"scheduler", "dag-processor", "triggerer", "api-server", "caddy", "mlflow", "watchdog"}
    assert "100%%" in config["supervisord"]["logfile"]
    # supervisord splits this at spaces, so that an absolute path would silently lose the model servers
    assert config["include"]["files"] == "servers/*.conf"


def test_logs_are_rotated(here: Any) -> None:
    config = configparser.RawConfigParser()
    config.read_string(supervisor_config(here))
    for name in commands(here):
        assert config[f"program:{name}"]["stdout_logfile_maxbytes"] == "20MB"


def health(seconds_ago: Any, status: Any = "healthy") -> Any:
    beat = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
    names = ("scheduler", "triggerer", "dag_processor")
    return {name: {"status": status, f"latest_{name}_heartbeat": beat} for name in names}


@pytest.fixture
def airflow_says(monkeypatch: pytest.MonkeyPatch, here: Any) -> Any:
    (here.secrets).mkdir(parents=True)
    (here.secrets / "mlflow_password").write_text("x", encoding="utf-8")

    def answer(report: Any) -> None:
        monkeypatch.setattr(components, "_get_json", lambda url: report)

    return answer


def test_a_part_is_well_when_it_reported_since_it_was_started(here: Any, airflow_says: Any) -> None:
    airflow_says(health(seconds_ago=1))
    started = (datetime.now(UTC) - timedelta(seconds=60)).timestamp()
    assert problems(here, {"scheduler": started})["scheduler"] is None


def test_the_heartbeat_of_an_earlier_process_counts_for_nothing(here: Any, airflow_says: Any) -> None:
    """Airflow calls a part healthy for 30 s after its last sign of life, also when it was killed meanwhile."""
    airflow_says(health(seconds_ago=20))
    started = (datetime.now(UTC) - timedelta(seconds=5)).timestamp()
    assert problems(here, {"scheduler": started})["scheduler"] == "has not sent a heartbeat since it was started"


def test_what_does_not_respond_is_not_healthy(here: Any, airflow_says: Any) -> None:
    airflow_says(health(seconds_ago=1, status="unhealthy"))
    found = problems(here, {})
    assert found["triggerer"] == "reports 'unhealthy'"
    assert found["caddy"] is not None
    assert found["mlflow"] is not None
