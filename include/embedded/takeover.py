"""Starts the platform again beside what still serves, after supervisord was killed.

The model servers and the gateway outlive supervisord, but a new supervisord can't adopt them. So they go on serving
until their replacements do: Caddy shares its ports with its successor, and servers are replaced on other ports.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterable

import psutil

from include.adapters.files import link_atomically, write_private
from include.embedded import processes
from include.embedded.gateway_config import gateway_config, with_model_routes
from include.settings import Settings

GATEWAY, SERVER = "caddy", "runtime.serve"
ADMIN_SOCKET = "caddy.sock"
"""A link to the admin socket of the Caddy that was started last; a Caddy removes its own socket when it ends."""


def end_all_but_serving(settings: Settings) -> list[psutil.Process]:
    """End what is left of an earlier start, except the gateway and the model servers, which are returned."""
    # One that does not respond; asked to end, it would stop all it has started. Left alone, it would start it again.
    processes.kill(processes.supervisors(settings))
    remaining = processes.of_installation(settings)
    serving = [process for process in remaining if processes.runs(process, GATEWAY, SERVER)]
    processes.end([process for process in remaining if process not in serving])
    if any(processes.runs(process, SERVER) for process in serving):
        # The reconciler writes these files again, with other ports; at their old ports, servers could not start.
        for path in (settings.run / "servers").glob("*.conf"):
            path.unlink()
    return processes.alive(serving)


def end_replaced(settings: Settings) -> None:
    """End each gateway and model server that supervisord did not start, unless requests are routed to it."""
    routed = _routed(settings)
    orphans = [
        process
        for process in processes.of_installation(settings)
        if processes.runs(process, GATEWAY, SERVER) and not _supervised(process) and not listening([process]) & routed
    ]
    processes.end(orphans)


def listening(running: Iterable[psutil.Process]) -> set[int]:
    """The ports on which these processes listen."""
    ports: set[int] = set()
    for process in running:
        with contextlib.suppress(psutil.Error):
            listeners = [one for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
            ports.update(one.laddr.port for one in listeners)
    return ports


def write_gateway_config(settings: Settings, password_hash: str) -> None:
    """Write Caddy's configuration, with the models' routes of the previous one and an admin socket of its own."""
    file = settings.run / "caddy.json"
    socket = settings.run / f"caddy-{secrets.token_hex(4)}.sock"
    config = gateway_config(settings, password_hash, admin=socket)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # there is none, or it is damaged
        config = with_model_routes(config, json.loads(file.read_text(encoding="utf-8")))
    write_private(file, json.dumps(config, indent=1))
    link_admin_socket(settings)


def config_is_damaged(settings: Settings) -> bool:
    """Whether Caddy could not start again with the configuration that is saved."""
    try:
        return not json.loads((settings.run / "caddy.json").read_text(encoding="utf-8"))["apps"]["http"]["servers"]
    except (OSError, ValueError, KeyError, TypeError):
        return True


def link_admin_socket(settings: Settings) -> None:
    """Let the admin socket's name point to the socket of the saved configuration."""
    config = json.loads((settings.run / "caddy.json").read_text(encoding="utf-8"))
    socket = config["admin"]["listen"].removeprefix("unix/").partition("|")[0]
    link_atomically(settings.run / ADMIN_SOCKET, socket)


def remove_admin_sockets(settings: Settings) -> None:
    """Remove the admin sockets of Caddys that have ended."""
    for path in settings.run.glob("caddy*.sock"):
        path.unlink()


def _routed(settings: Settings) -> set[int]:
    """The ports to which the gateway sends requests."""
    ports = set()
    for name in ("live", "canary"):
        for path in (settings.run / "gateway").glob(f"*/{name}"):
            with contextlib.suppress(OSError, ValueError):
                ports.add(int(path.read_text(encoding="utf-8").rpartition(":")[2]))
    return ports


def _supervised(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(processes.runs(parent, processes.SUPERVISOR) for parent in process.parents())
    return True  # it has just ended
