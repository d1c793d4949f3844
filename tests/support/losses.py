"""What may be lost or damaged below a model that serves, for tests of the reconciler."""

from __future__ import annotations

from collections.abc import Callable

from include.adapters.engines.process.engine import ProcessEngine
from include.adapters.supervisord import open_supervisor
from include.core.spec import ModelSpec
from include.stages.installation import open_installation


def change_route(file: str, content: str | None) -> Callable[[ModelSpec], None]:
    """Write this to a file that the gateway reads for each request; None removes it."""

    def change(spec: ModelSpec) -> None:
        path = open_installation().settings.run / "gateway" / spec.name / file
        path.unlink() if content is None else path.write_text(content, encoding="utf-8")

    return change


def stop_server(spec: ModelSpec) -> None:
    """Its port stays taken by its own file, so that it is replaced on another one."""
    engine = open_installation().engine
    if isinstance(engine, ProcessEngine):
        open_supervisor(engine.folder.parent).stopProcess(f"{spec.name}.production.1")
    else:
        for container in engine._containers(model=spec.name, version="1"):  # type: ignore[attr-defined]
            container.stop()


def damage_server(spec: ModelSpec) -> None:
    """What describes the server is cut off, or gone."""
    engine = open_installation().engine
    if isinstance(engine, ProcessEngine):
        path = engine.folder / f"{spec.name}.production.1.json"
        path.write_text(path.read_text(encoding="utf-8")[:40], encoding="utf-8")
    else:
        for container in engine._containers(model=spec.name, version="1"):  # type: ignore[attr-defined]
            container.remove(force=True, v=True)


LOSSES: dict[str, Callable[[ModelSpec], None]] = {
    "routes": lambda spec: open_installation().gateway.remove(spec.name),
    "server": lambda spec: open_installation().engine.stop(spec.name, "production", "1"),
    "process": stop_server,
    "description of the server": damage_server,
    "live removed": change_route("live", None),
    "live emptied": change_route("live", ""),
    "live of a dead port": change_route("live", "127.0.0.1:1"),
    "share damaged": change_route("share", "zzzz"),
    "share of no canary": change_route("share", "80000000"),
    "alias": lambda spec: open_installation().registry.client.delete_registered_model_alias(spec.name, "champion"),
}
"""What is lost or damaged, with version 1 in production → how."""
NEED_A_SERVER = {"server", "process", "description of the server"}
"""The others are mended without starting anything."""
