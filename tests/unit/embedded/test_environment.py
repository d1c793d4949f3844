"""The environment of the platform's processes: ours, complete, and with nothing of the caller's by accident."""

from pathlib import Path
from typing import Any

import pytest

from include.embedded.environment import INSTANCE, airflow_environment
from include.embedded.platform import make_secrets
from include.settings import Settings


@pytest.fixture
def here(tmp_path: Path) -> Any:
    found = Settings(home=tmp_path / "home")
    found.secrets.mkdir(parents=True)
    make_secrets(found)
    return found


def test_everything_of_airflow_is_below_the_home_and_on_the_loopback_address(here: Any) -> None:
    environment = airflow_environment(here)
    assert environment["AIRFLOW_HOME"] == str(here.home / "airflow")
    assert str(here.home) in environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"


def test_a_moved_port_moves_every_address_that_has_it(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERGREEN_AIRFLOW_PORT", "18999")
    monkeypatch.setenv("EVERGREEN_HOME", str(here.home))
    environment = airflow_environment(Settings.from_environment())
    assert environment["AIRFLOW__API__PORT"] == "18999"
    for name in ("AIRFLOW__API__BASE_URL", "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"):
        assert ":18999" in environment[name]


def test_the_callers_own_variables_stay_outside(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHONDONTWRITEBYTECODE doubles Airflow's start; another Airflow's settings would win over ours."""
    for name in ("PYTHONDONTWRITEBYTECODE", "AIRFLOW__CORE__EXECUTOR", "SOME_TOKEN"):
        monkeypatch.setenv(name, "theirs")
    environment = airflow_environment(here)
    assert "theirs" not in environment.values()


def test_connections_from_dotenv_reach_the_platform(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_EVERGREEN_ALERTS", '{"conn_type": "http", "host": "http://127.0.0.1:9"}')
    assert "AIRFLOW_CONN_EVERGREEN_ALERTS" in airflow_environment(here)


def test_every_process_can_be_found_again_also_when_it_changes_its_title(here: Any) -> None:
    environment = airflow_environment(here)
    assert environment[INSTANCE] == str(here.home)
    assert environment["SPT_NOENV"] == "1"


def test_a_wrong_port_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERGREEN_MLFLOW_PORT", "five thousand")
    with pytest.raises(SystemExit, match="EVERGREEN_MLFLOW_PORT='five thousand' is not a valid int"):
        Settings.from_environment()


def test_secrets_are_made_once_and_are_the_owners_alone(here: Any) -> None:
    before = {path.name: path.read_text() for path in here.secrets.iterdir()}
    make_secrets(here)
    assert {path.name: path.read_text() for path in here.secrets.iterdir()} == before
    assert {path.stat().st_mode & 0o777 for path in here.secrets.iterdir()} == {0o600}
    assert len(set(before.values())) == len(before)
