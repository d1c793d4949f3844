"""The embedded platform, as a user meets it: it becomes healthy, reports its status, and leaves no trace."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from include.adapters.engines.process.confinement import isolation
from include.embedded.__main__ import CONFINEMENT
from include.embedded.environment import INSTANCE
from include.embedded.processes import alive
from tests.support.running_platform import Platform, new_platform, short_folder
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

COMPONENTS = ("scheduler", "dag-processor", "triggerer", "api-server", "caddy", "mlflow")


def processes(platform: Platform, program: str = "") -> Any:
    """Every process that carries the mark of this platform, or those of this program."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get(INSTANCE) == platform.env["EVERGREEN_HOME"]
                and (not program or program in process.cmdline())  # raises for one that has just ended
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_status_names_every_component_and_calls_it_healthy(platform: Platform) -> None:
    def healthy() -> str:
        done = platform.command("status")  # on an overloaded machine, a heartbeat may be late for a moment
        print(done.stdout, done.stderr)
        return done.stdout if done.returncode == 0 else ""

    lines = {line.split()[0]: line for line in wait_for(healthy, 60, "health").splitlines() if line.strip()}
    for component in COMPONENTS:
        assert lines[component].split()[1] == "RUNNING"
        assert lines[component].endswith(" healthy")
    assert str(platform.settings.airflow_port) in lines["api-server"]
    level = "containers" if platform.settings.engine == "docker" else CONFINEMENT[isolation()]
    assert lines["model"] == f"model code  is confined by {level}"


def test_status_has_a_line_for_each_model_a_document_for_programs_and_no_password(platform: Platform) -> None:
    text = platform.command("status").stdout
    assert any(line.startswith("flights ") for line in text.splitlines()), text
    shown = platform.command("passwords").stdout
    for name in ("admin_password", "mlflow_password"):
        assert platform.settings.secret(name) in shown
        assert platform.settings.secret(name) not in text
    document = json.loads(platform.command("status", "--json").stdout)
    assert {part["name"] for part in document["parts"]} >= set(COMPONENTS)
    assert "flights" in {model["model"] for model in document["models"]}


def test_up_again_changes_nothing(platform: Platform) -> None:
    supervised = psutil.Process(int((platform.settings.run / "supervisord.pid").read_text())).children()
    assert len(supervised) >= len(COMPONENTS)
    done = platform.command("up")
    assert done.returncode == 0, done.stderr
    assert "already up" in done.stdout
    assert all(process.is_running() for process in supervised)


def test_airflow_works_and_has_what_airflow_settings_names(platform: Platform) -> None:
    assert {pool["name"] for pool in platform.ask("GET", "pools")["pools"]} >= {"default_pool", "evergreen_training"}
    connections = {entry["connection_id"] for entry in platform.ask("GET", "connections")["connections"]}
    assert connections >= {"evergreen_lake", "evergreen_alerts"}


def test_the_dags_are_there_without_import_errors(platform: Platform) -> None:
    dags = wait_for(lambda: platform.ask("GET", "dags")["dags"], 60, "the first DAG")
    assert "flights" in {dag["dag_id"].partition(".")[0] for dag in dags}
    assert platform.ask("GET", "importErrors")["import_errors"] == []


def test_runs_that_are_triggered_at_once_are_all_there_soon(platform: Platform) -> None:
    """Airflow's api-server alone stands still here, until SQLite gives up and requests fail."""
    wait_for(lambda: platform.ask("GET", "dags?dag_id_pattern=flights.retraining")["dags"], 60, "flights.retraining")
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: platform.trigger("flights.retraining"), range(8)))
    known = {run["dag_run_id"] for run in platform.ask("GET", "dags/flights.retraining/dagRuns")["dag_runs"]}
    assert known >= set(runs)
    assert len(set(runs)) == 8


def test_a_long_write_of_one_part_is_waited_for(platform: Platform) -> None:
    """SQLite by itself gives up after 5 seconds: on a slow disk, that was a 500 of Airflow's API."""
    database = platform.settings.home / "airflow" / "airflow.db"
    with contextlib.closing(sqlite3.connect(database, timeout=60, check_same_thread=False)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        end_of_write = threading.Timer(8, writer.rollback)
        end_of_write.start()
        pool = {"name": "made_meanwhile", "slots": 1}
        made = platform.ask("POST", "pools", json=pool)
        assert not end_of_write.is_alive(), "the writer did not block anybody: this test shows nothing"
    assert made["slots"] == 1
    requests.delete(
        f"{platform.airflow_url}/api/v2/pools/made_meanwhile",
        headers={"Authorization": f"Bearer {platform.token()}"},
        timeout=30,
    ).raise_for_status()


@pytest.mark.parametrize("path", ["/v2", "/v2/models/flights/infer", "/metrics", "/config/", "/"])
def test_the_gateway_answers_nobody_without_the_token(platform: Platform, path: str) -> None:
    assert requests.get(platform.gateway_url + path, timeout=10).status_code == 401
    wrong = requests.get(platform.gateway_url + path, headers={"Authorization": "Bearer wrong"}, timeout=10)
    assert wrong.status_code == 401


def test_the_gateway_knows_no_route_that_nobody_deployed(platform: Platform) -> None:
    token = platform.settings.secret("prediction_token")
    found = requests.get(platform.gateway_url + "/v2/x", headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert found.status_code == 404
    assert "error" in found.json()


@pytest.mark.parametrize("path", ["/", "/health", "/api/2.0/mlflow/experiments/search?max_results=1"])
def test_mlflow_asks_for_its_password_and_works_with_it(platform: Platform, path: str) -> None:
    assert requests.get(platform.mlflow_url + path, timeout=30).status_code == 401
    assert requests.get(platform.mlflow_url + path, auth=("admin", "wrong"), timeout=30).status_code == 401
    login = ("admin", platform.settings.secret("mlflow_password"))
    assert requests.get(platform.mlflow_url + path, auth=login, timeout=30).status_code == 200


def test_mlflow_takes_no_request_for_another_host(platform: Platform) -> None:
    """What a page in the user's browser could send, had it made its own name point to 127.0.0.1."""
    login = ("admin", platform.settings.secret("mlflow_password"))
    headers = {"Host": "evil.example"}
    assert requests.get(platform.mlflow_url + "/", auth=login, headers=headers, timeout=30).status_code == 403


@pytest.mark.parametrize("path", ["dags", "connections", "variables", "dags/flights.ci/dagRuns"])
def test_airflow_asks_who_is_there(platform: Platform, path: str) -> None:
    assert requests.get(f"{platform.airflow_url}/api/v2/{path}", timeout=30).status_code == 401


def test_every_port_is_on_the_loopback_address(platform: Platform) -> None:
    ours = {process.pid for process in processes(platform)}
    listening = [c for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN and c.pid in ours]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}
    here = platform.settings
    assert {connection.laddr.port for connection in listening} >= {
        here.airflow_port,
        here.mlflow_port,
        here.gateway_port,
    }


def test_no_other_user_can_read_the_platforms_files(platform: Platform) -> None:
    home = platform.settings.home
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    open_to_others = [
        path
        for folder, _, names in os.walk(home)
        for path in (os.path.join(folder, name) for name in names)
        if stat.S_IFMT(os.lstat(path).st_mode) not in (stat.S_IFSOCK, stat.S_IFLNK) and os.lstat(path).st_mode & 0o077
    ]
    assert open_to_others == []


def test_a_part_that_is_killed_comes_back(platform: Platform) -> None:
    def mlflow() -> Any:
        return next(iter(processes(platform, "mlflow.server.fastapi_app:app")), None)

    before = mlflow()
    before.kill()
    wait_for(lambda: (now := mlflow()) and now != before, 60, "a new MLflow")
    wait_for(lambda: platform.command("status").returncode == 0, 120, "a healthy platform")


@pytest.fixture
def short_path() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


def test_an_occupied_port_is_named_before_anything_is_started(short_path: Path) -> None:
    other = new_platform(short_path / "h")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", other.settings.mlflow_port))
        holder.listen()
        done = other.command("up")
    assert done.returncode == 1
    assert f"port {other.settings.mlflow_port}, needed by MLflow, is in use" in done.stderr
    assert "EVERGREEN_MLFLOW_PORT" in done.stderr
    assert processes(other) == []


def test_a_home_too_deep_for_sockets_is_refused_with_the_remedy(tmp_path: Path) -> None:
    done = new_platform(tmp_path / ("d" * 100)).command("up")
    assert done.returncode == 1
    assert "EVERGREEN_HOME" in done.stderr


def test_after_supervisord_was_killed_down_leaves_no_process_and_up_works(platform: Platform) -> None:
    """Last in this file, since it takes the platform away for a while. That it heals by itself: tests/chaos."""
    here = platform.settings
    supervisord = psutil.Process(int((here.run / "supervisord.pid").read_text()))
    orphans = supervisord.children(recursive=True)
    assert len(orphans) >= len(COMPONENTS)
    os.kill(supervisord.pid, signal.SIGKILL)
    wait_for(lambda: not alive([supervisord]), 10, "its end")
    assert platform.command("status").returncode == 1
    platform.down()  # at once, before the watchdog starts everything again
    assert processes(platform) == []
    assert alive(orphans) == []
    platform.down()  # once more is harmless
    platform.up()
    wait_for(lambda: platform.command("status").returncode == 0, 120, "a healthy platform")
