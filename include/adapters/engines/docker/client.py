"""Connects to a Docker Engine (local, or remote over TLS or SSH), and defines the labels of Evergreen's objects on it.

The Airflow connection named by ``EVERGREEN_DOCKER_CONNECTION`` has its address: ``host`` is a URL such as
``tcp://build-host:2376`` (with the files ``ca_cert``, ``client_cert`` and ``client_key`` in its extra) or
``ssh://user@host``. Without such a connection, ``DOCKER_HOST`` or the local socket is used, as by the Docker CLI.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import docker
import docker.constants
import requests
import urllib3
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig

from include.adapters.airflow_connections import find_connection
from include.core.errors import PlatformError
from include.settings import Settings

TIMEOUT_SECONDS = 120
UNREACHABLE = (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError)
_UNREACHABLE = (
    "no Docker Engine responds{where} ({error}). Start one ('bin/docker-engine' installs and starts one on Debian, as "
    "root), set DOCKER_HOST or the Airflow connection '{name}' to one, or set EVERGREEN_ENGINE=process."
)


class DockerHost:
    """The Docker Engine of an installation; several installations may share one."""

    def __init__(self, settings: Settings):
        self.settings = settings

    @cached_property
    def client(self) -> docker.DockerClient:
        """A client of the Docker Engine; PlatformError if it does not respond."""
        connection = find_connection(self.settings.docker_connection)
        try:
            client = _connected(connection) if connection else docker.from_env(timeout=TIMEOUT_SECONDS)
            client.ping()
        except (*UNREACHABLE, OSError) as error:
            raise self._unreachable(error, f" at {connection.host}" if connection else "") from error
        return client

    @property
    def instance(self) -> str:
        """Identifies this installation on a Docker host, which several may share."""
        return hashlib.sha256(str(self.settings.home).encode()).hexdigest()[:12]

    def labels(self, kind: str, **more: str) -> dict[str, str]:
        """Labels of an image, container, volume or network: its installation, its kind, and more."""
        values = {"instance": self.instance, "kind": kind, **more}
        return {f"evergreen.{name}": value for name, value in values.items()}

    def with_labels(self, kind: str, **more: str) -> dict[str, str | list[str] | bool]:
        """The filter for objects with these labels."""
        return {"label": [f"{name}={value}" for name, value in self.labels(kind, **more).items()]}

    def server_addresses(self) -> dict[str, str]:
        """``<model>.<environment>.<version>`` of each model server published on this host → its address."""
        with self.errors():
            servers = self.client.containers.list(all=True, filters=self.with_labels("server"), ignore_removed=True)
        return {
            ".".join(server.labels[f"evergreen.{name}"] for name in ("model", "environment", "version")): (
                f"127.0.0.1:{server.labels['evergreen.port']}"
            )
            for server in servers
            if "evergreen.port" in server.labels
        }

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Convert errors of the Docker Engine, or of the connection to it, to PlatformErrors."""
        try:
            yield
        except APIError as error:
            message = str(error.explanation or error)
            if "no space left" in message:
                message += ". Free some space, for example with 'docker system prune'"
            raise PlatformError(f"the Docker Engine refused: {message}") from error
        except UNREACHABLE as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception, where: str = "") -> PlatformError:
        return PlatformError(_UNREACHABLE.format(where=where, error=error, name=self.settings.docker_connection))


def _connected(connection: Any) -> docker.DockerClient:
    extra = connection.extra_dejson
    tls: Any = False
    if extra.get("client_cert"):
        pair = (extra["client_cert"], extra["client_key"])
        tls = TLSConfig(client_cert=pair, ca_cert=extra.get("ca_cert"), verify=True)
    url = connection.host if "://" in connection.host else f"tcp://{connection.host}:{connection.port or 2376}"
    newest = _open(url, tls, docker.constants.DEFAULT_DOCKER_API_VERSION).version(api_version=False)["ApiVersion"]
    return _open(url, tls, newest)


def _open(url: str, tls: Any, version: str) -> docker.DockerClient:
    client = docker.DockerClient(url, version=version, tls=tls, timeout=TIMEOUT_SECONDS, use_ssh_client=True)
    client.api.trust_env = False  # otherwise REQUESTS_CA_BUNDLE would replace the connection's own ca_cert
    return client
