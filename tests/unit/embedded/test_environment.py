"""The environment of the platform's processes: ours, complete, and with nothing of the caller's by accident."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from include.core.errors import PlatformError
from include.embedded.environment import INSTANCE, airflow_environment, refused_variables
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
    """PYTHONDONTWRITEBYTECODE doubles Airflow's start; another Airflow's executor would win over ours."""
    for name in ("PYTHONDONTWRITEBYTECODE", "AIRFLOW__CORE__EXECUTOR", "SOME_TOKEN"):
        monkeypatch.setenv(name, "theirs")
    environment = airflow_environment(here)
    assert "theirs" not in environment.values()


def test_connections_from_dotenv_reach_the_platform(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_EVERGREEN_ALERTS", '{"conn_type": "http", "host": "http://127.0.0.1:9"}')
    assert "AIRFLOW_CONN_EVERGREEN_ALERTS" in airflow_environment(here)


CELERY = {
    "platform": "celery",
    "database_url": "postgresql://me:se%24cret@db.example:5432/evergreen?sslmode=require",
    "broker_url": "redis://:secret@queue.example:6379/1",
}


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("AIRFLOW__CORE__EXECUTOR", "EVERGREEN_PLATFORM=celery"),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "EVERGREEN_DATABASE_URL"),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD", "EVERGREEN_DATABASE_URL"),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC", "EVERGREEN_DATABASE_URL"),
        ("AIRFLOW__CELERY__BROKER_URL", "EVERGREEN_BROKER_URL"),
        ("AIRFLOW__CELERY__RESULT_BACKEND_SECRET", "EVERGREEN_DATABASE_URL"),
        ("AIRFLOW__CORE__FERNET_KEY", "secrets/fernet_key"),
        ("AIRFLOW__API__PORT", "EVERGREEN_AIRFLOW_PORT"),
    ],
)
@pytest.mark.parametrize("platform", ["local", "celery"])
def test_what_only_evergreen_sets_is_refused_with_what_to_set_instead(
    here: Any, monkeypatch: pytest.MonkeyPatch, name: str, remedy: str, platform: str
) -> None:
    """It was ignored without a word: a person who set an executor got LocalExecutor on SQLite."""
    settings = replace(here, **CELERY) if platform == "celery" else here
    for known in [known for known in os.environ if known.startswith("AIRFLOW__")]:
        monkeypatch.delenv(known)
    assert refused_variables(settings) == []
    monkeypatch.setenv(name, "theirs")
    (message,) = refused_variables(settings)
    assert message.startswith(f"{name} can't be set on this platform")
    assert remedy in message
    assert "theirs" not in message, "it may be a password"


def test_what_evergreen_sets_to_the_same_value_is_no_reason_to_complain(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment that 'make up' passes on, and the plugins folder that Astro's projects set."""
    for known in [known for known in os.environ if known.startswith("AIRFLOW__")]:
        monkeypatch.delenv(known)
    for name, value in airflow_environment(here).items():
        monkeypatch.setenv(name, value)
    assert refused_variables(here) == []


def test_all_other_settings_of_airflow_are_passed_on(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "12")
    monkeypatch.setenv("AIRFLOW__SMTP__SMTP_HOST", "mail.example")
    environment = airflow_environment(here)
    assert environment["AIRFLOW__CORE__PARALLELISM"] == "12", "theirs wins over our default"
    assert environment["AIRFLOW__SMTP__SMTP_HOST"] == "mail.example"


def test_on_celery_every_part_uses_the_servers_that_were_named(here: Any) -> None:
    settings = replace(here, **CELERY)
    environment = airflow_environment(settings)
    database = "postgresql+psycopg2://me:se%24cret@db.example:5432/evergreen?sslmode=require"
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == database
    assert environment["AIRFLOW__CELERY__RESULT_BACKEND"] == f"db+{database}"
    assert environment["AIRFLOW__CELERY__BROKER_URL"] == CELERY["broker_url"]
    assert settings.store == f"{database}&options=-csearch_path%3Devergreen"
    assert settings.mlflow == f"{database}&options=-csearch_path%3Dmlflow"
    elsewhere = replace(settings, store_url="sqlite:////tmp/x.db")
    assert elsewhere.store == "sqlite:////tmp/x.db"


def test_celery_without_a_database_says_what_to_set() -> None:
    with pytest.raises(PlatformError, match="needs EVERGREEN_DATABASE_URL.*for example"):
        Settings(platform="celery").store  # noqa: B018


def test_an_unknown_platform_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERGREEN_PLATFORM", "kubernetes")
    with pytest.raises(SystemExit, match=r"EVERGREEN_PLATFORM='kubernetes'.*local or celery"):
        Settings.from_environment()


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
