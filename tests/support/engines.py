"""The engines that tests run against; ``docker`` where one answers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from docker.models.containers import Container

from include.adapters.engines.docker.client import DockerHost
from include.adapters.engines.docker.engine import DockerEngine
from include.adapters.engines.process.engine import ProcessEngine
from include.stages.installation import open_installation
from tests.support.ports import free_port, free_range

ENGINES = ["process", pytest.param("docker", marks=pytest.mark.needs("docker"))]


@contextmanager
def installation(engine: str) -> Iterator[Path]:
    """A new home that everything in this process uses, with this engine; all is undone at the end."""
    home = Path(tempfile.mkdtemp(prefix="eg-"))  # short: sockets live below it
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        patch.setenv("EVERGREEN_HOME", str(home))
        patch.setenv("EVERGREEN_ENGINE", engine)
        patch.setenv("EVERGREEN_GATEWAY_PORT", str(free_port()))
        patch.setenv("EVERGREEN_MLFLOW_PORT", str(free_port()))
        patch.setenv("EVERGREEN_SERVER_PORTS", free_range())
        patch.setenv("AIRFLOW_CONN_EVERGREEN_LAKE", '{"conn_type": "fs", "extra": {"path": "lake"}}')
        if engine == "docker":
            docker_engine().prepare_host()
            stack.callback(remove_everything)
        (home / "git").mkdir()
        yield home


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
