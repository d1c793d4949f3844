"""Images of the engine ``docker``, of which no model needs to be trained."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from include.adapters.engines import environments
from include.adapters.engines.docker import images as docker_images
from include.core.spec import ModelSpec
from include.stages.installation import open_installation
from tests.integration.docker_objects import layers
from tests.support.engines import docker_host

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300), pytest.mark.needs("docker")]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation of its own, with the engine docker."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVERGREEN_ENGINE", "docker")


def test_the_same_inputs_give_the_same_layers_without_any_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: ModelSpec
) -> None:
    monkeypatch.setattr(environments, "RUNTIME", tmp_path / "runtime")
    for name, text in {
        "runtime/requirements.txt": "",
        "runtime/requirements-compile.txt": "",
        "code/requirements.txt": "iniconfig==2.1.0\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    base = docker_images.base_image(docker_host())
    lock = environments.resolve_lock(
        open_installation().settings, "same", tmp_path / "code", python=docker_images.python_of(docker_host(), base)
    )
    api = docker_host().client.api
    monkeypatch.setattr(api, "build", functools.partial(api.build, nocache=True))
    images = [docker_images._build_image(docker_host(), spec, "same", "c" * 40, tmp_path, lock, base) for _ in range(2)]
    try:
        assert images[0] != images[1], "nothing was built the second time"
        assert layers(images[0]) == layers(images[1])
    finally:
        for image in images:
            docker_host().client.images.remove(image, force=True)
