"""Serve one version of a model over the Open Inference Protocol v2: ``python -m runtime.serve config.json``.

Every route asks for the bearer token. A prediction is in the log before its answer leaves. On SIGTERM the server stops
listening, answers what it has begun, and ends.
"""

from __future__ import annotations

import contextlib
import hmac
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from . import artifact
from .check import sample
from .inference import BadRequestError, Inference, parse
from .jobs import run
from .model_code import predict, prepare, require_finite
from .prediction_log import PredictionLog
from .server_metrics import ServerMetrics


class ModelServer:
    """A loaded model with its log and its counters."""

    def __init__(self, config: dict[str, Any]):
        self.config, self.model = config, config["model"]
        folder = Path(config["artifact"])
        self.fitted = artifact.load(folder, config["sha256"], self.model)
        self.metrics = ServerMetrics(config, artifact.describe(folder)["prediction_edges"])
        self.token = Path(config["token_file"]).read_text(encoding="utf-8").strip()
        with contextlib.suppress(Exception):  # made-up values are not for every model, which is no reason not to serve
            rows = sample({"model": self.model, "rows": 1})
            predict(self.model, self.fitted, prepare(self.model, rows))  # warm: the first request is as fast as any
        self.log = None
        if config["log_dir"]:
            revision = config["release"].rpartition("@")[2]
            self.log = PredictionLog(Path(config["log_dir"]), f"{config['version']}-{revision}")

    def answer(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status code and content of the answer to an inference request."""
        try:
            asked = parse(
                body,
                self.model,
                logged=self.log is not None,
                max_rows=self.config["max_rows"],
                request_id=uuid.uuid4().hex,
            )
        except BadRequestError as error:
            return 400, {"error": str(error)}
        try:
            predicted = require_finite(predict(self.model, self.fitted, prepare(self.model, asked.features))).tolist()
        except (Exception, SystemExit) as error:  # whatever the model's code does, the server goes on
            return 500, {"error": f"the model could not predict: {error}"}
        try:
            self._keep(asked, predicted)
        except OSError as error:
            return 503, {"error": f"the prediction could not be logged and is not given: {error.strerror}"}
        self.metrics.observe(asked.features, predicted)
        return 200, {
            "model_name": self.model["name"],
            "model_version": self.config["version"],
            "id": asked.request_id,
            "parameters": {"release": self.config["release"]},
            "outputs": [{"name": "prediction", "shape": [asked.rows], "datatype": "FP64", "data": predicted}],
        }

    def _keep(self, asked: Inference, predicted: list[float]) -> None:
        if self.log is None:
            return
        self.log.append(
            {
                "request_id": asked.request_id,
                "received": time.time(),
                "version": self.config["version"],
                "release": self.config["release"],
                "keys": asked.keys,
                "event_times": asked.event_times,
                "features": asked.features,
                "predictions": predicted,
            }
        )

    def metadata(self) -> dict[str, Any]:
        """What the model takes and gives, as the protocol describes it."""
        datatypes = {"integer": "INT64", "number": "FP64", "category": "BYTES", "boolean": "BOOL"}
        names = [(feature["name"], datatypes[feature["type"]]) for feature in self.model["features"]]
        names += [(name, "BYTES") for name in (self.model["key"], self.model["event_time"])]
        return {
            "name": self.model["name"],
            "versions": [self.config["version"]],
            "platform": "scikit-learn",
            "inputs": [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in dict(names).items()],
            "outputs": [{"name": "prediction", "datatype": "FP64", "shape": [-1]}],
        }


class RequireToken:
    """Middleware that answers 401 to a request without the bearer token."""

    def __init__(self, app: ASGIApp, token: str):
        self.app, self.expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it here."""
        inner = self.app
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self.expected):
                inner = JSONResponse({"error": "send the header 'Authorization: Bearer <token>'"}, 401)
        await inner(scope, receive, send)


class Routes:
    """What the server answers at each path."""

    def __init__(self, server: ModelServer):
        self.server = server
        self.name, self.version = server.model["name"], server.config["version"]
        self.largest = server.config["max_body_bytes"]

    def all(self) -> list[Route]:
        """The paths of the Open Inference Protocol, with and without the version, and ``/metrics``."""
        ready = always({"ready": True})
        routes = [
            Route("/v2", always({"name": "evergreen", "version": "1", "extensions": []})),
            Route("/v2/health/live", always({"live": True})),
            Route("/v2/health/ready", ready),
            Route("/metrics", self.metrics),
        ]
        for base in (f"/v2/models/{self.name}", f"/v2/models/{self.name}/versions/{self.version}"):
            routes.append(Route(base, always(self.server.metadata())))
            routes.append(Route(f"{base}/ready", ready))
            routes.append(Route(f"{base}/infer", self.infer, methods=["POST"]))
        return routes

    async def metrics(self, _: Request) -> Response:
        """The server's counters in the Prometheus text format."""
        return Response(self.server.metrics.exposition(), media_type="text/plain; version=0.0.4")

    async def infer(self, request: Request) -> Response:
        """Predict, and count the request with its status and seconds."""
        started = time.perf_counter()
        body = await self._read(request)
        if body is None:
            code, content = 413, {"error": f"the body is larger than {self.largest} bytes; send fewer rows"}
        else:
            code, content = await run_in_threadpool(self.server.answer, body)
        self.server.metrics.count(code, time.perf_counter() - started)
        return JSONResponse(content, code)

    async def not_found(self, _: Request, __: Exception) -> Response:
        """Any other path."""
        text = f"no such route; this server has model '{self.name}', version '{self.version}'"
        return JSONResponse({"error": text}, 404)

    async def _read(self, request: Request) -> bytes | None:
        """The body, or None as soon as it is known to be too large."""
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.largest:
            return None
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.largest:
                return None
        return body


def always(content: dict[str, Any]) -> Callable[[Request], Awaitable[Response]]:
    """A handler that answers every request with the same JSON."""

    async def answer(_: Request) -> Response:
        return JSONResponse(content)

    return answer


def make_app(server: ModelServer) -> Starlette:
    """The routes, each behind the bearer token."""
    routes = Routes(server)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        if server.log:
            server.log.close()

    return Starlette(
        routes=routes.all(),
        middleware=[Middleware(RequireToken, token=server.token)],
        exception_handlers={404: routes.not_found},
        lifespan=lifespan,
    )


def main(config: dict[str, Any]) -> None:
    """Load the model and serve it until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises the signal again when all is answered
    server = ModelServer(config)
    uvicorn.run(
        make_app(server),
        host=config["host"],
        port=config["port"],
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=20,
    )


if __name__ == "__main__":
    run(main)
