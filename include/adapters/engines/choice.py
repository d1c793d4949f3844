"""Opens the installation's engine."""

from __future__ import annotations

from include.adapters.engines.contract import Engine
from include.adapters.registry import Registry
from include.settings import Settings


def open_engine(settings: Settings, registry: Registry) -> Engine:
    """The engine that ``settings.engine`` names; the other engine's libraries are not imported."""
    if settings.engine == "docker":
        from include.adapters.engines.docker.engine import DockerEngine

        return DockerEngine(settings, registry)
    from include.adapters.engines.process.engine import ProcessEngine

    return ProcessEngine(settings, registry)
