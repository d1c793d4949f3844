"""supervisord, over its XML-RPC interface on a unix socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

SOCKET = "supervisor.sock"
"""Its name in the installation's folder ``run``."""


def open_supervisor(run: Path) -> Any:
    """The namespace ``supervisor`` of the supervisord whose socket is in ``run``; connects with each call.

    Calls raise OSError when it does not answer, and :class:`xmlrpc.client.Fault` when it refuses.
    """
    transport = SupervisorTransport("", "", f"unix://{run / SOCKET}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor
