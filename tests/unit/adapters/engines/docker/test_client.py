"""The message when no Docker Engine responds."""

from pathlib import Path

import pytest

from include.adapters.engines.docker.client import DockerHost
from include.core.errors import PlatformError
from include.settings import Settings


def test_an_engine_that_is_gone_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    with pytest.raises(PlatformError, match=r"no Docker Engine responds.*bin/docker-engine.*DOCKER_HOST"):
        DockerHost(Settings(home=tmp_path)).client.ping()
