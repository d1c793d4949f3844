"""Connections of Airflow: one that is missing is the user's mistake, an Airflow that does not answer is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from include.adapters.airflow_connections import find_connection, require_connection, sql_engine
from include.adapters.data.sources import window_exists
from include.adapters.engines.docker.client import DockerHost
from include.adapters.git import resolve_commit
from include.core.errors import BuildError, DataError, PlatformError
from include.core.spec import FileSource, Repository
from include.settings import Settings

ASKING: dict[str, Callable[[Path], object]] = {
    "Git": lambda home: resolve_commit(home, Repository(url="https://example.com/a.git", connection="c")),
    "a data source": lambda home: window_exists(home, FileSource(path="{window}.csv", connection="c"), "2013", "month"),
    "the Docker Engine": lambda home: DockerHost(Settings(home=home, docker_connection="c")).client,
}


@pytest.mark.parametrize("who", ASKING)
def test_an_airflow_that_does_not_answer_is_worth_a_retry_for_everyone(
    who: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, Git failed the build for good and said that the connection is missing; so did data sources."""

    def fails(_name: Any) -> None:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR))

    monkeypatch.setattr(BaseHook, "get_connection", fails)
    with pytest.raises(PlatformError, match="could not look up Airflow's connection 'c'"):
        ASKING[who](tmp_path)


def test_a_connection_that_is_there_is_found_and_another_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SOME_LAKE", '{"conn_type": "fs", "extra": {"path": "lake"}}')
    connection = find_connection("some_lake")
    assert connection is not None and connection.extra_dejson == {"path": "lake"}
    assert find_connection("no_such_connection") is None
    assert find_connection("") is None


def test_a_required_one_is_missing_with_the_remedy_as_the_error_that_the_caller_wants() -> None:
    with pytest.raises(PlatformError, match="no connection 'gone'.*airflow_settings.yaml"):
        require_connection("gone")
    with pytest.raises(BuildError, match="no connection 'gone'. Correct model.yaml."):
        require_connection("gone", remedy="Correct model.yaml.", error=BuildError)


def test_a_database_without_its_provider_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", '{"conn_type": "no_such_database"}')
    with pytest.raises(DataError, match="'warehouse' can't be used.*Install the Airflow provider"):
        sql_engine("warehouse")
