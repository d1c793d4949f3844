"""The engine ``docker``: builds are images, jobs and model servers are containers.

A server is one container, whose labels say what it is; they and the releases in the store are all that is needed to
find every server again. It reads a volume of its own (configuration and token) and writes the model's prediction log,
a named volume on the Docker host, from which :meth:`DockerEngine.fetch_predictions` brings what is new.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import Healthcheck, LogConfig
from filelock import FileLock

from include.adapters.engines.contract import SERVER_ENVIRONMENT, RunningServer, job_environment
from include.adapters.engines.docker import images as docker_images
from include.adapters.engines.docker.archives import USER, archived, take_new
from include.adapters.engines.docker.client import docker_errors, instance, labels, open_client, with_labels
from include.adapters.engines.docker.images import ARTIFACT, CONFIG, INSIDE, LOG
from include.adapters.engines.docker.job import HARDENED, Limits, job_labels, run_in_container
from include.adapters.engines.environments import PreparedBuild
from include.adapters.engines.process.confinement import FILE_MB, Completed
from include.adapters.engines.runtime_config import model_block
from include.adapters.registry import Registry
from include.adapters.serving.inference_client import ModelServer
from include.core.errors import PlatformError
from include.core.release.release import Environment
from include.core.spec import ModelSpec
from include.settings import Settings

PORT = 8000
"""The server's port inside of its container."""
STOP_SECONDS, FETCH_SECONDS = 30, 600
RESTARTS = 3
"""A server that ended this often without getting ready is broken."""
MISTAKE = 3
"""The runtime's exit code for what no restart can put right."""
RESTART: Any = {"Name": "always", "MaximumRetryCount": 0}
"""Not unless-stopped: for an engine that crashed and starts again, its containers count as stopped by somebody."""
_SECOND = 1_000_000_000


class DockerEngine:
    """Images and containers on the Docker host; see :mod:`include.adapters.engines.docker.client` for which one."""

    def __init__(self, settings: Settings, registry: Registry):
        self._settings, self._registry = settings, registry

    def prepare_build(self, spec: ModelSpec, commit: str, *, again: bool = False) -> PreparedBuild:
        """Lock, image and folder; see :func:`docker_images.prepare_build`."""
        return docker_images.prepare_build(spec, commit, again=again)

    def code(self, spec: ModelSpec, build_id: str) -> Path:
        """The model's folder in its image."""
        return INSIDE / "code" / spec.repository.path

    def run(
        self,
        spec: ModelSpec,
        build_id: str,
        arguments: Sequence[str],
        *,
        writable: Path,
        log: Path,
        readable: Sequence[Path] = (),
        in_code: bool = False,
        time_limit: float | None = None,
        file_mb: int | None = None,
    ) -> Completed:
        """Run the build's Python in a container; see :meth:`Engine.run`."""
        training = spec.training
        return run_in_container(
            docker_images.build_image(spec.name, build_id),
            [str(INSIDE / "environment" / "bin" / "python"), *arguments],
            cwd=self.code(spec, build_id) if in_code else INSIDE,
            readable=readable,
            writable=writable,
            log=log,
            time_limit=time_limit or training.time_limit_minutes * 60,
            limits=Limits(training.memory_mb, training.processes, training.cpus, file_mb or FILE_MB),
            network=training.network,
            environment=job_environment(spec),
            about={"model": spec.name, "build": build_id},
        )

    def isolation(self) -> str:
        """``container``."""
        return "container"

    def servers(self, model: str, environment: Environment) -> dict[str, RunningServer]:
        """The servers of one model in one environment, by version."""
        found = {}
        for container in self._containers(model=model, environment=environment):
            version = container.labels["evergreen.version"]
            address = _address(container)
            state = _state(container, model, address)
            found[version] = RunningServer(version, address, state, container.labels["evergreen.image"])
        return found

    def start(self, spec: ModelSpec, environment: Environment, version: str, release: str) -> None:
        """Start the server of a version; a broken one of the same version is replaced."""
        lineage = self._registry.lineage(spec.name, version)
        bundle = self._registry.fetch(spec.name, version)
        image = self._image(spec, version, lineage, bundle)
        self.stop(spec.name, environment, version)
        self._settings.run.mkdir(parents=True, exist_ok=True)
        with docker_errors(), FileLock(self._settings.run / "docker.lock"):
            port = {} if self._settings.server_network else {"port": str(self._free_port())}
            about = {"model": spec.name, "environment": environment, "version": version, "release": release}
            container = self._create(image, spec, environment, labels("server", **port, image=image, **about))
            try:
                config = self._config(spec, environment, version, release, lineage["build"])
                token = (self._settings.secrets / "prediction_token").read_bytes()
                files = {"config.json": json.dumps(config, indent=1).encode(), "token": token}
                container.put_archive(str(CONFIG), archived(files, owner=USER))
                container.start()
            except BaseException:
                container.remove(force=True, v=True)
                raise

    def stop(self, model: str, environment: Environment, version: str) -> None:
        """Stop a server (it drains first) and forget it; harmless when there is none."""
        for container in self._containers(model=model, environment=environment, version=version):
            _end(container)

    def stop_servers(self) -> None:
        """Stop and forget every model server of this installation; the reconciler starts them again."""
        for container in self._containers():
            _end(container)

    def prepare_host(self) -> None:
        """See that the Docker host answers and has the base image; PlatformError with the remedy otherwise."""
        docker_images.base_image()

    def remove_everything(self) -> None:
        """Remove all that this installation has on the Docker host: containers, networks, volumes, images."""
        mine: Any = {"label": f"evergreen.instance={instance()}"}
        with docker_errors():
            client = open_client()
            for container in client.containers.list(all=True, filters=mine, ignore_removed=True):
                container.remove(force=True, v=True)
            for network in client.networks.list(filters=mine):
                network.remove()
            for volume in client.volumes.list(filters=mine):
                volume.remove()
            _remove_images(client, {str(image.id) for image in client.images.list(filters=mine)})

    def last_words(self, model: str, environment: Environment, version: str, lines: int = 15) -> str:
        """The end of a server's log, and what ended it, for the error message about it."""
        for container in self._containers(model=model, environment=environment, version=version):
            with docker_errors():
                words = container.logs(tail=lines).decode("utf-8", errors="replace").rstrip()
            if container.attrs["State"]["OOMKilled"]:
                words += "\nIt needed more memory than deployment.memory_mb allows. Raise it in model.yaml."
            return words
        return "(no container)"

    def fetch_predictions(self, model: str) -> None:
        """Append what is new in the model's log volume to the same segments in ``self._settings.prediction_log``.

        A container that is never started gives the way to the volume, so this works whether or not a server runs.
        """
        name = _log_volume(model)
        folder = self._settings.prediction_log / model
        with docker_errors():
            client = open_client()
            try:
                client.volumes.get(name)
            except NotFound:
                return
            folder.mkdir(parents=True, exist_ok=True)
            container = client.containers.create(
                docker_images.base_image(),
                ["true"],
                network_mode="none",
                volumes={name: {"bind": str(LOG), "mode": "ro"}},
                labels=job_labels(FETCH_SECONDS),
            )
            try:
                with FileLock(folder / ".fetch.lock"):
                    take_new(container.get_archive(str(LOG))[0], folder)
            finally:
                container.remove(force=True)

    def _image(self, spec: ModelSpec, version: str, lineage: dict[str, Any], bundle: Path) -> str:
        """The release image that the version's tag in the registry names, so that every environment gets the same."""
        tag = f"image.{instance()}"
        image = self._registry.version(spec.name, version).tags.get(tag)
        if not image or not docker_images.present(image):
            image = docker_images.release_image(spec, version, lineage["build"], bundle, lineage)
            self._registry.tag_version(spec.name, version, tag, image)
        return str(image)

    def _create(self, image: str, spec: ModelSpec, environment: Environment, about: dict[str, str]) -> Container:
        client = open_client()
        volumes = {_log_volume(spec.name): {"bind": str(LOG), "mode": "rw"}} if environment == "production" else {}
        with contextlib.suppress(APIError):  # it is there
            if volumes:
                client.volumes.create(_log_volume(spec.name), labels=labels("log", model=spec.name))
        deployment = spec.deployment
        limits = Limits(deployment.memory_mb, deployment.processes, deployment.cpus)
        python = str(INSIDE / "environment" / "bin" / "python")
        health = [python, "-m", "runtime.health", str(CONFIG / "config.json")]
        created: Container = client.containers.create(
            image,
            [python, "-m", "runtime.serve", str(CONFIG / "config.json")],
            environment=SERVER_ENVIRONMENT,
            name=f"evergreen-{instance()}-{spec.name}-{environment}-{about['evergreen.version']}",
            network=self._network(environment),
            ports={f"{PORT}/tcp": ("127.0.0.1", int(about["evergreen.port"]))} if "evergreen.port" in about else {},
            volumes=[str(CONFIG), *(f"{name}:{mount['bind']}:rw" for name, mount in volumes.items())],
            restart_policy=RESTART,
            healthcheck=Healthcheck(
                test=["CMD", *health], interval=15 * _SECOND, timeout=10 * _SECOND, start_period=60 * _SECOND, retries=3
            ),
            log_config=LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"}),
            labels=about,
            **limits.options(client.info()["NCPU"]),
            **HARDENED,
        )
        return created

    def _config(
        self, spec: ModelSpec, environment: Environment, version: str, release: str, build_id: str
    ) -> dict[str, Any]:
        return {
            "model": model_block(spec, self.code(spec, build_id)),
            "version": version,
            "environment": environment,
            "release": release,
            "build": build_id,
            "artifact": str(ARTIFACT),
            "sha256": self._registry.version(spec.name, version).tags["sha256"],
            "host": "0.0.0.0",  # of its container; published on the Docker host's 127.0.0.1 alone
            "port": PORT,
            "token_file": str(CONFIG / "token"),
            "log_dir": str(LOG) if environment == "production" else None,
            "max_rows": 10_000,
            "max_body_bytes": 16 * 1024 * 1024,
        }

    def _network(self, environment: Environment) -> str:
        """The environment's bridge. What is on it can neither see each other nor, without masquerade, the world.

        Where the gateway is a container too, both are on a network that is there already (EVERGREEN_SERVER_NETWORK).
        """
        if self._settings.server_network:
            return f"{self._settings.server_network}-{environment}"
        client = open_client()
        name = f"evergreen-{instance()}-{environment}"
        if not client.networks.list(names=[f"^{name}$"]):
            client.networks.create(
                name,
                driver="bridge",
                check_duplicate=True,
                labels=labels("network", environment=environment),
                options={
                    "com.docker.network.bridge.enable_icc": "false",
                    "com.docker.network.bridge.enable_ip_masquerade": "false",
                },
            )
        return name

    def _containers(self, **more: str) -> list[Container]:
        with docker_errors():
            found: list[Container] = open_client().containers.list(
                all=True, filters=with_labels("server", **more), ignore_removed=True
            )
        return found

    def _free_port(self) -> int:
        taken = {container.labels.get("evergreen.port") for container in self._containers()}
        for port in self._settings.server_port_range:
            if str(port) in taken:
                continue
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with contextlib.suppress(OSError):
                    probe.bind(("127.0.0.1", port))
                    return port
        raise PlatformError(
            f"no port is free for a model server (EVERGREEN_SERVER_PORTS={self._settings.server_ports}). "
            "Widen the range."
        )


def _remove_images(client: docker.DockerClient, images: set[str]) -> None:
    """Remove images, those first that no other one stands on."""
    while images:
        kept = set()
        for image in images:
            try:
                client.images.remove(image, force=True)
            except ImageNotFound:
                continue  # it went with its child
            except APIError as error:
                if error.status_code != HTTPStatus.CONFLICT:
                    raise
                kept.add(image)
        if kept == images:
            raise PlatformError(f"images that something still uses are not removed: {', '.join(sorted(kept))}.")
        images = kept


def _end(container: Container) -> None:
    with docker_errors(), contextlib.suppress(NotFound):
        container.stop(timeout=STOP_SECONDS)
        container.remove(force=True, v=True)


def _state(container: Container, model: str, address: str) -> str:
    state = container.attrs["State"]
    if state["Status"] == "running":
        return "ready" if ModelServer(model, address).ready() else "starting"
    looping = state["ExitCode"] == MISTAKE or container.attrs["RestartCount"] >= RESTARTS
    return "starting" if state["Status"] == "restarting" and not looping else "broken"


def _address(container: Container) -> str:
    """Where the gateway and the tasks reach a server: at its published port, or by name on a network they share.

    That name is the container's short id: with a long model name, its own would be too long for DNS.
    """
    port = container.labels.get("evergreen.port")
    return f"127.0.0.1:{port}" if port else f"{container.short_id}:{PORT}"


def _log_volume(model: str) -> str:
    return f"evergreen-{instance()}-log-{model}"
