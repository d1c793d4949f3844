"""supervisord's XML-RPC interface on a unix socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

SOCKET = "supervisor.sock"
"""The socket's name in the installation's folder ``run``."""


def open_supervisor(run: Path) -> Any:
    """The namespace ``supervisor`` of the supervisord whose socket is in ``run``; connects on each call.

    Calls raise OSError if it does not respond, and :class:`xmlrpc.client.Fault` if it refuses.
    """
    transport = SupervisorTransport("", "", f"unix://{run / SOCKET}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor
