"""Serve one version of a model over the Open Inference Protocol v2: ``python -m runtime.serve config.json``.

All routes require the bearer token. Each prediction is logged before the response is sent. On SIGTERM the server stops
listening, finishes the requests in progress, and exits.
"""

from __future__ import annotations

import signal
import sys

import uvicorn

from .config import ServerConfig
from .connections import ServerProtocol
from .jobs import run
from .listening import handed_sockets
from .model_server import ModelServer
from .routes import Application


def main(config: ServerConfig) -> None:
    """Load the model and serve it until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    application = Application(ModelServer(config))
    # uvicorn raises the signal again once all requests are answered.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(application.failed)))
    settings = uvicorn.Config(
        application,
        loop="uvloop",
        http=ServerProtocol,
        ws="none",
        interface="asgi3",
        lifespan="on",
        host=config["host"],
        port=config["port"],
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=20,
    )
    uvicorn.Server(settings).run(sockets=handed_sockets())


if __name__ == "__main__":
    run(main)
