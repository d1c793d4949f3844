"""Containers of model servers: creation, network, state and address."""

from __future__ import annotations

import contextlib
from typing import Any

from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.types import Healthcheck, LogConfig

from include.adapters.engines.contract import SERVER_ENVIRONMENT
from include.adapters.engines.docker.client import DockerHost
from include.adapters.engines.docker.images import CONFIG, INSIDE, LOG
from include.adapters.engines.docker.job import HARDENED, Limits
from include.adapters.serving.inference_client import InferenceClient
from include.core.release.release import Environment
from include.core.spec import ModelSpec

PORT = 8000
"""The server's port inside its container."""
STOP_SECONDS = 30
RESTARTS = 3
"""A server that exited this often without becoming ready is broken."""
MISTAKE = 3
"""The runtime's exit code for errors that no restart can fix."""
RESTART: Any = {"Name": "always", "MaximumRetryCount": 0}
"""Not unless-stopped: after a crash of the Docker Engine, its containers would count as stopped by a user."""
_SECOND = 1_000_000_000


def create_server(
    host: DockerHost, image: str, spec: ModelSpec, environment: Environment, about: dict[str, str]
) -> Container:
    """Create a container that can be started: hardened, with resource limits and the labels ``about``."""
    volumes = {log_volume(host, spec.name): {"bind": str(LOG), "mode": "rw"}} if environment == "production" else {}
    with contextlib.suppress(APIError):  # it already exists
        if volumes:
            host.client.volumes.create(log_volume(host, spec.name), labels=host.labels("log", model=spec.name))
    deployment = spec.deployment
    limits = Limits(deployment.memory_mb, deployment.processes, deployment.cpus)
    python = str(INSIDE / "environment" / "bin" / "python")
    health = [python, "-m", "runtime.health", str(CONFIG / "config.json")]
    created: Container = host.client.containers.create(
        image,
        [python, "-m", "runtime.serve", str(CONFIG / "config.json")],
        environment=SERVER_ENVIRONMENT,
        name=f"evergreen-{host.instance}-{spec.name}-{environment}-{about['evergreen.version']}",
        network=_network(host, environment),
        ports={f"{PORT}/tcp": ("127.0.0.1", int(about["evergreen.port"]))} if "evergreen.port" in about else {},
        volumes=[str(CONFIG), *(f"{name}:{mount['bind']}:rw" for name, mount in volumes.items())],
        restart_policy=RESTART,
        healthcheck=Healthcheck(
            test=["CMD", *health], interval=15 * _SECOND, timeout=10 * _SECOND, start_period=60 * _SECOND, retries=3
        ),
        log_config=LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"}),
        labels=about,
        **limits.options(host.client.info()["NCPU"]),
        **HARDENED,
    )
    return created


def end_server(host: DockerHost, container: Container) -> None:
    """Stop a server, which drains first, and remove it, if it still exists."""
    with host.errors(), contextlib.suppress(NotFound):
        container.stop(timeout=STOP_SECONDS)
        container.remove(force=True, v=True)


def server_state(host: DockerHost, container: Container, model: str) -> str:
    """``ready``, ``starting`` or ``broken``."""
    state = container.attrs["State"]
    if state["Status"] == "running":
        token = host.settings.secret("prediction_token")
        return "ready" if InferenceClient(model, server_address(container), token).ready() else "starting"
    looping = state["ExitCode"] == MISTAKE or container.attrs["RestartCount"] >= RESTARTS
    return "starting" if state["Status"] == "restarting" and not looping else "broken"


def server_address(container: Container) -> str:
    """The address at which gateway and tasks reach a server: its published port, or its name on a shared network.

    That name is the container's short id, because its full name may be too long for DNS.
    """
    port = container.labels.get("evergreen.port")
    return f"127.0.0.1:{port}" if port else f"{container.short_id}:{PORT}"


def log_volume(host: DockerHost, model: str) -> str:
    """The volume to which a model's production servers write the prediction log."""
    return f"evergreen-{host.instance}-log-{model}"


def _network(host: DockerHost, environment: Environment) -> str:
    """The environment's bridge. Containers on it can't reach each other or, without masquerading, the outside world.

    If the gateway is a container too, both use an existing network (EVERGREEN_SERVER_NETWORK).
    """
    if host.settings.server_network:
        return f"{host.settings.server_network}-{environment}"
    name = f"evergreen-{host.instance}-{environment}"
    if not host.client.networks.list(names=[f"^{name}$"]):
        host.client.networks.create(
            name,
            driver="bridge",
            check_duplicate=True,
            labels=host.labels("network", environment=environment),
            options={
                "com.docker.network.bridge.enable_icc": "false",
                "com.docker.network.bridge.enable_ip_masquerade": "false",
            },
        )
    return name
