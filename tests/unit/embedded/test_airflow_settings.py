"""airflow_settings.yaml: read as the Astro CLI reads it, and written into Airflow's database, twice as well as once."""

import json
from pathlib import Path
from typing import Any

import pytest

from include.core.errors import PlatformError
from include.embedded.airflow_settings import apply, connection_values, read_settings
from tests.conftest import PROJECT


@pytest.fixture(scope="module")
def database() -> None:
    from airflow.utils.db import initdb

    initdb()


def test_the_projects_file_has_what_the_dags_ask_for() -> None:
    found = read_settings()
    assert {"evergreen_lake", "evergreen_alerts"} <= {entry["conn_id"] for entry in found["connections"]}
    pools = {entry["pool_name"] for entry in found["pools"]}
    for path in (PROJECT / "dags").glob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if "pool=" in line:
                assert line.partition('pool="')[2].partition('"')[0] in pools, f"{path.name}: {line.strip()}"


def test_the_projects_file_holds_no_secret_and_keeps_to_what_astro_reads() -> None:
    """Astro lower-cases the keys of a map, so that an extra must be text."""
    for entry in read_settings()["connections"]:
        assert not entry.get("conn_password"), entry["conn_id"]
        assert isinstance(entry.get("conn_extra", ""), str), entry["conn_id"]


def test_empty_entries_of_astros_template_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "airflow_settings.yaml"
    template = "airflow:\n  connections:\n    - conn_id:\n      conn_type:\n  pools:\n  variables:\n"
    path.write_text(template, encoding="utf-8")
    assert read_settings(path) == {"connections": [], "pools": [], "variables": []}


def test_a_file_that_is_no_yaml_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "airflow_settings.yaml"
    path.write_text("airflow: [", encoding="utf-8")
    with pytest.raises(PlatformError, match=r"airflow_settings\.yaml can't be read"):
        read_settings(path)


def test_an_extra_given_as_a_map_becomes_json() -> None:
    values = connection_values({"conn_id": "lake", "conn_type": "fs", "conn_extra": {"path": "lake"}, "conn_port": 1})
    assert json.loads(values["extra"]) == {"path": "lake"}
    assert values["port"] == 1


def test_it_is_applied_and_applying_it_again_changes_nothing(database: Any, tmp_path: Path) -> None:
    from airflow.models import Connection, Pool, Variable
    from airflow.utils.session import create_session

    path = tmp_path / "airflow_settings.yaml"
    path.write_text(
        "airflow:\n"
        "  connections:\n"
        "    - {conn_id: one, conn_type: http, conn_host: example.org, conn_port: 81, conn_extra: '{\"a\": 1}'}\n"
        "  pools: [{pool_name: small, pool_slot: 2, pool_description: two at once}]\n"
        "  variables: [{variable_name: answer, variable_value: 42}]\n",
        encoding="utf-8",
    )
    for _ in range(2):
        apply(path)
        with create_session() as session:
            (connection,) = session.query(Connection).filter(Connection.conn_id == "one")
            assert (connection.host, connection.port, connection.extra_dejson) == ("example.org", 81, {"a": 1})
            (pool,) = session.query(Pool).filter(Pool.pool == "small")
            assert (pool.slots, pool.description) == (2, "two at once")
            assert [row.val for row in session.query(Variable).filter(Variable.key == "answer")] == ["42"]
