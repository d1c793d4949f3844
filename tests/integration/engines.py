"""The engines that tests run against; ``docker`` where one answers."""

from __future__ import annotations

import pytest

from include.adapters.engine import open_engine
from include.core.errors import PlatformError
from include.settings import settings

ENGINES = ["process", "docker"]


def use_engine(name: str, patch: pytest.MonkeyPatch) -> None:
    """Let everything use this engine; skips, with how to get one, where no Docker Engine answers."""
    patch.setenv("EVERGREEN_ENGINE", name)
    if name == "docker":
        from include.adapters.docker_images import base_image

        try:
            base_image()
        except PlatformError as error:
            pytest.skip(str(error))


def forget(name: str) -> None:
    """Remove what a test's installation left on the Docker host."""
    if name == "docker":
        from include.adapters.docker_engine import remove_everything

        remove_everything()


def server_pid(model: str, version: str) -> int:
    """The process that a production server's life hangs on; 0 while there is none."""
    if settings().engine == "docker":
        return int(container(model, version).attrs["State"]["Pid"])
    return int(open_engine()._supervisor.getProcessInfo(f"{model}.production.{version}")["pid"])


def container(model: str, version: str, environment: str = "production"):
    """The container of a server."""
    (found,) = open_engine()._containers(model=model, environment=environment, version=version)
    return found
