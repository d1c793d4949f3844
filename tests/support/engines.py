"""The engines that tests run against; ``docker`` where one answers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from docker.models.containers import Container

from include.adapters.engines.docker.client import DockerHost
from include.adapters.engines.docker.engine import DockerEngine
from include.adapters.engines.process.engine import ProcessEngine
from include.stages.installation import open_installation
from tests.support.ports import free_port, free_range

ENGINES = ["process", pytest.param("docker", marks=pytest.mark.needs("docker"))]


class Home:
    """The home of a new installation with this engine, which everything in this process uses while it is entered."""

    def __init__(self, engine: str) -> None:
        self.engine, self.path = engine, Path(tempfile.mkdtemp(prefix="eg-"))  # short: sockets live below it
        self.variables = {
            "EVERGREEN_HOME": str(self.path),
            "EVERGREEN_ENGINE": engine,
            "EVERGREEN_GATEWAY_PORT": str(free_port()),
            "EVERGREEN_MLFLOW_PORT": str(free_port()),
            "EVERGREEN_SERVER_PORTS": free_range(),
            "AIRFLOW_CONN_EVERGREEN_LAKE": '{"conn_type": "fs", "extra": {"path": "lake"}}',
        }
        (self.path / "git").mkdir()

    @contextmanager
    def entered(self) -> Iterator[Path]:
        """Its variables are set; they are as before afterwards."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.variables.items():
                patch.setenv(name, value)
            yield self.path

    def remove(self) -> None:
        """Remove it, and what it has on the Docker host."""
        try:
            if self.engine == "docker":
                with self.entered():
                    remove_everything()
        finally:
            shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def installation(engine: str) -> Iterator[Path]:
    """A new home that everything in this process uses, with this engine; all is undone at the end."""
    home = Home(engine)
    try:
        with home.entered():
            if engine == "docker":
                docker_engine().prepare_host()
            yield home.path
    finally:
        home.remove()


def remove_everything() -> None:
    """Remove what this process's installation left on the Docker host."""
    docker_engine().remove_everything()


def docker_engine() -> DockerEngine:
    """The installation's engine, which is ``docker``."""
    engine = open_installation().engine
    assert isinstance(engine, DockerEngine)
    return engine


def docker_host() -> DockerHost:
    """Where that engine has its containers."""
    return docker_engine().host


def server_pid(model: str, version: str) -> int:
    """The process that a production server's life hangs on; 0 while there is none."""
    if open_installation().settings.engine == "docker":
        return int(container(model, version).attrs["State"]["Pid"])
    engine = open_installation().engine
    assert isinstance(engine, ProcessEngine)
    return int(engine._supervisor.getProcessInfo(f"{model}.production.{version}")["pid"])


def container(model: str, version: str, environment: str = "production") -> Container:
    """The container of a server."""
    (one,) = docker_engine()._containers(model=model, environment=environment, version=version)
    return one
