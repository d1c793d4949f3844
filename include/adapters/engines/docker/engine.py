"""The engine ``docker``: builds are images, jobs and model servers are containers.

A server is one container, which is identified by its labels; these and the releases in the store are enough to find all
servers. It reads its own volume (configuration and token) and writes to the model's prediction log, a named volume on
the Docker host, from which :meth:`DockerEngine.fetch_predictions` copies new lines.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound, NotFound
from docker.models.containers import Container
from filelock import FileLock

from include.adapters.engines import environments
from include.adapters.engines.contract import RunningServer, job_environment
from include.adapters.engines.docker import images
from include.adapters.engines.docker.archives import USER, archived, take_new
from include.adapters.engines.docker.client import DockerHost
from include.adapters.engines.docker.images import ARTIFACT, CONFIG, INSIDE, LOG
from include.adapters.engines.docker.job import Limits, job_labels, run_in_container
from include.adapters.engines.docker.servers import (
    PORT,
    create_server,
    end_server,
    log_volume,
    server_address,
    server_state,
)
from include.adapters.engines.ports import free_server_port
from include.adapters.engines.process.confinement import FILE_MB, Completed
from include.adapters.engines.runtime_config import build_folder, model_block
from include.adapters.engines.server_config import ServerConfig, optional_inputs
from include.adapters.registry import Registry
from include.core.build import Lineage
from include.core.errors import PlatformError
from include.core.release.release import Environment
from include.core.spec import ModelSpec
from include.settings import Settings

FETCH_SECONDS = 600
OPTIONAL_INPUTS = "optional_inputs.json"


class DockerEngine:
    """Images and containers on the Docker host (see :class:`DockerHost`)."""

    def __init__(self, settings: Settings, registry: Registry):
        self._settings, self._registry = settings, registry
        self.host = DockerHost(settings)

    def prepare_build(
        self, spec: ModelSpec, commit: str, checkout: Path, *, again: bool = False
    ) -> environments.PreparedBuild:
        """Lock, image and folder of a build; see :meth:`Engine.prepare_build`."""
        started = time.monotonic()
        base = images.base_image(self.host)
        python, code = images.python_of(self.host, base), environments.model_folder(checkout, spec)
        indexes = spec.repository.package_indexes
        lock = environments.resolve_lock(self._settings, spec.name, code, indexes=indexes, again=again, python=python)
        build_id = environments.build_name(commit, lock)
        folder = environments.assemble(build_folder(self._settings, spec.name, build_id), checkout)
        image, cached = images.take_image(self.host, spec, build_id, commit, folder, lock, base)
        return environments.PreparedBuild(build_id, image, folder, cached, time.monotonic() - started)

    def code(self, spec: ModelSpec, build_id: str) -> Path:  # noqa: ARG002 - the path is the same in every image
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
            self.host,
            images.build_image(self.host, spec.name, build_id),
            [str(INSIDE / "environment" / "bin" / "python"), *arguments],
            cwd=self.code(spec, build_id) if in_code else INSIDE,
            readable=readable,
            writable=writable,
            log=log,
            time_limit=time_limit or training.time_limit_minutes * 60,
            limits=Limits(training.memory_mb, training.processes, training.cpus, file_mb or FILE_MB, training.disk_mb),
            network=training.network,
            environment=job_environment(spec),
            about={"model": spec.name, "build": build_id},
        )

    def isolation(self) -> str:
        """``container``."""
        return "container"

    def servers(self, model: str, environment: Environment) -> dict[str, RunningServer]:
        """The servers of one model in one environment, by version."""
        servers = {}
        for container in self._containers(model=model, environment=environment):
            version, image = (container.labels[f"evergreen.{name}"] for name in ("version", "image"))
            state = server_state(self.host, container, model)
            servers[version] = RunningServer(version, server_address(container), state, image)
        return servers

    def start(self, spec: ModelSpec, environment: Environment, version: str, release: str) -> None:
        """Start the server of a version; a broken one of the same version is replaced."""
        lineage = self._registry.lineage(spec.name, version)
        image = self._image(spec, version, lineage, self._registry.fetch(spec.name, version))
        self.stop(spec.name, environment, version)
        self._settings.run.mkdir(parents=True, exist_ok=True)
        config = ServerConfig(
            model=model_block(spec, self.code(spec, lineage.build)),
            version=version,
            environment=environment,
            release=release,
            build=lineage.build,
            artifact=str(ARTIFACT),
            sha256=self._registry.sha256(spec.name, version),
            compiled=self._registry.compiled(spec.name, version),
            host="0.0.0.0",  # inside the container; only published on the Docker host's 127.0.0.1
            port=PORT,
            token_file=str(CONFIG / "token"),
            optional_inputs_file=str(CONFIG / OPTIONAL_INPUTS),
            log_dir=str(LOG) if environment == "production" else None,
            durable_log=spec.deployment.durable_log,
            event_time_from_year=spec.data.event_time_from_year,
            event_time_days_ahead=spec.data.event_time_days_ahead,
        )
        token = (self._settings.secrets / "prediction_token").read_bytes()
        files = {
            "config.json": config.as_json().encode(),
            "token": token,
            OPTIONAL_INPUTS: optional_inputs(spec).encode(),
        }
        with self.host.errors(), FileLock(self._settings.run / "docker.lock"):
            about = {"model": spec.name, "environment": environment, "version": version, "release": release}
            if not self._settings.server_network:
                about["port"] = str(free_server_port(self._settings, self._taken_ports()))
            labels = self.host.labels("server", image=image, **about)
            container = create_server(self.host, image, spec, environment, labels)
            try:
                container.put_archive(str(CONFIG), archived(files, owner=USER))
                container.start()
            except BaseException:
                container.remove(force=True, v=True)
                raise

    def set_optional_inputs(self, spec: ModelSpec, environment: Environment) -> None:
        """Copy the file that the servers read; see :meth:`Engine.set_optional_inputs`."""
        files = {OPTIONAL_INPUTS: optional_inputs(spec).encode()}
        for container in self._containers(model=spec.name, environment=environment):
            with self.host.errors(), contextlib.suppress(NotFound):
                container.put_archive(str(CONFIG), archived(files, owner=USER))

    def restore_files(self, spec: ModelSpec, environment: Environment) -> None:
        """Do nothing: the Docker Engine keeps what it starts servers from."""

    def stop(self, model: str, environment: Environment, version: str) -> None:
        """Stop a server (it drains first) and remove it, if there is one."""
        for container in self._containers(model=model, environment=environment, version=version):
            end_server(self.host, container)

    def restart(self, model: str, environment: Environment, version: str) -> None:
        """Kill a server and start it again."""
        for container in self._containers(model=model, environment=environment, version=version):
            with self.host.errors(), contextlib.suppress(NotFound):
                container.restart(timeout=0)

    def stop_servers(self) -> None:
        """Stop and remove all model servers of this installation; the reconciler starts them again."""
        for container in self._containers():
            end_server(self.host, container)

    def prepare_host(self) -> None:
        """Ensure that the Docker host responds and has the base image; PlatformError with the remedy otherwise."""
        images.base_image(self.host)

    def remove_everything(self) -> None:
        """Remove everything of this installation from the Docker host: containers, networks, volumes, images."""
        own: Any = {"label": f"evergreen.instance={self.host.instance}"}
        with self.host.errors():
            client = self.host.client
            for container in client.containers.list(all=True, filters=own, ignore_removed=True):
                container.remove(force=True, v=True)
            for network in client.networks.list(filters=own):
                network.remove()
            for volume in client.volumes.list(filters=own):
                volume.remove()
            _remove_images(client, {str(image.id) for image in client.images.list(filters=own)})

    def log_tail(self, model: str, environment: Environment, version: str, lines: int = 15) -> str:
        """The tail of a server's log, and why it ended, for error messages."""
        for container in self._containers(model=model, environment=environment, version=version):
            with self.host.errors():
                tail = container.logs(tail=lines).decode("utf-8", errors="replace").rstrip()
            if container.attrs["State"]["OOMKilled"]:
                tail += "\nIt exceeded deployment.memory_mb. Raise it in model.yaml."
            return tail
        return "(no container)"

    def fetch_predictions(self, model: str) -> None:
        """Append new lines in the model's log volume to the same segments in ``settings.prediction_log``.

        The volume is read through a container that is never started, so this works whether or not a server runs.
        """
        name = log_volume(self.host, model)
        folder = self._settings.prediction_log / model
        with self.host.errors():
            client = self.host.client
            try:
                client.volumes.get(name)
            except NotFound:
                return
            folder.mkdir(parents=True, exist_ok=True)
            container = client.containers.create(
                images.base_image(self.host),
                ["true"],
                network_mode="none",
                volumes={name: {"bind": str(LOG), "mode": "ro"}},
                labels=job_labels(self.host, FETCH_SECONDS),
            )
            try:
                with FileLock(folder / ".fetch.lock"):
                    take_new(container.get_archive(str(LOG))[0], folder)
            finally:
                container.remove(force=True)

    def _image(self, spec: ModelSpec, version: str, lineage: Lineage, bundle: Path) -> str:
        """The release image recorded in the version's registry tag, so that all environments use the same image."""
        tag = f"image.{self.host.instance}"
        image = self._registry.version(spec.name, version).tags.get(tag)
        if not image or not images.present(self.host, image):
            image = images.release_image(self.host, spec, version, bundle, lineage)
            self._registry.tag_version(spec.name, version, tag, image)
        return str(image)

    def _containers(self, **more: str) -> list[Container]:
        with self.host.errors():
            containers: list[Container] = self.host.client.containers.list(
                all=True, filters=self.host.with_labels("server", **more), ignore_removed=True
            )
        return containers

    def _taken_ports(self) -> set[int]:
        ports = (container.labels.get("evergreen.port") for container in self._containers())
        return {int(port) for port in ports if port}


def _remove_images(client: docker.DockerClient, images: set[str]) -> None:
    """Remove images, children before their parents."""
    while images:
        in_use = set()
        for image in images:
            try:
                client.images.remove(image, force=True)
            except ImageNotFound:
                continue  # it was removed with its child
            except APIError as error:
                if error.status_code != HTTPStatus.CONFLICT:
                    raise
                in_use.add(image)
        if in_use == images:
            raise PlatformError(f"images that are still in use could not be removed: {', '.join(sorted(in_use))}.")
        images = in_use
