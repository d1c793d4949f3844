"""Serve one version of a model over the Open Inference Protocol v2: ``python -m runtime.serve config.json``.

All routes require the bearer token. Each prediction is logged before the response is sent. On SIGTERM the server stops
listening, finishes the requests in progress, and exits.
"""

from __future__ import annotations

import contextlib
import hmac
import signal
import sys
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
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
from .config import ServerConfig
from .connections import ServerProtocol
from .event_times import EventTimes
from .inference import BadRequestError, Inference, parse
from .jobs import run
from .model_code import predict, prepare, require_finite
from .optional_inputs import OptionalInputs
from .prediction_log import LogEntry, PredictionLog, new_request_id
from .server_metrics import ServerMetrics


class ModelServer:
    """A loaded model with its prediction log and its metrics."""

    def __init__(self, config: ServerConfig):
        self.config, self.model = config, config["model"]
        folder = Path(config["artifact"])
        self.fitted = artifact.load(folder, config["sha256"], self.model)
        self.metrics = ServerMetrics(config, artifact.describe(folder)["prediction_edges"])
        self.token = Path(config["token_file"]).read_text(encoding="utf-8").strip()
        with contextlib.suppress(Exception):  # some models reject synthetic values; serve them anyway
            # Warm-up, so that the first request is not slower.
            rows = sample(self.model, [], 1)
            predict(self.model, self.fitted, prepare(self.model, rows))
        self.optional = OptionalInputs(Path(config["optional_inputs_file"]))
        self.log = None
        if config["log_dir"]:
            revision = config["release"].rpartition("@")[2]
            self.log = PredictionLog(Path(config["log_dir"]), f"{config['version']}-{revision}")

    def answer(self, body: bytes, json_length: int | None = None) -> tuple[int, dict[str, Any]]:
        """Status code and content of the response to an inference request.

        With ``json_length``, the body is this many bytes of JSON, followed by binary data. The response's ``id`` is the
        client's; the server's own, which no other request has, is among the parameters.
        """
        own_id = new_request_id()
        try:
            request = parse(
                body,
                self.model,
                logged=self.log is not None,
                max_rows=self.config["max_rows"],
                request_id=own_id,
                optional=self.optional.names,
                json_length=json_length,
                times=EventTimes(self.config["event_time_from_year"], self.config["event_time_days_ahead"]),
            )
        except BadRequestError as error:
            return 400, {"error": str(error)}
        try:
            predicted = require_finite(predict(self.model, self.fitted, prepare(self.model, request.features))).tolist()
        except (Exception, SystemExit) as error:  # whatever the model's code raises, the server keeps running
            return 500, {"error": f"the model could not predict: {error}"}
        try:
            self._log(request, own_id, predicted)
        except OSError as error:
            return 503, {"error": f"the prediction could not be logged, so it is not returned: {error.strerror}"}
        self.metrics.observe(request.features, predicted)
        optional = {"ignored": request.ignored, "absent": request.absent, "converted": request.converted}
        self.metrics.count_optional(optional)
        return 200, {
            "model_name": self.model["name"],
            "model_version": self.config["version"],
            "id": request.request_id,
            "parameters": {
                "release": self.config["release"],
                "server_request_id": own_id,
                **{f"{treated}_inputs": ", ".join(names) for treated, names in optional.items() if names},
            },
            "outputs": [{"name": "prediction", "shape": [request.rows], "datatype": "FP64", "data": predicted}],
        }

    def _log(self, request: Inference, own_id: str, predicted: list[float]) -> None:
        if self.log is None:
            return
        entry: LogEntry = {
            "request_id": request.request_id,
            "server_request_id": own_id,
            "received": time.time(),
            "version": self.config["version"],
            "release": self.config["release"],
            "keys": request.keys,
            "event_times": request.event_times,
            "features": request.features,
            "predictions": predicted,
        }
        if request.ignored:
            entry["ignored"] = list(request.ignored)
        self.log.append(entry)

    def metadata(self) -> dict[str, Any]:
        """The model's inputs and outputs, in the protocol's format."""
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
    """Middleware that answers requests without the bearer token with 401."""

    def __init__(self, app: ASGIApp, token: str):
        self.app, self.expected = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or reject it."""
        inner = self.app
        if scope["type"] == "http":
            # The scheme's name is case-insensitive (RFC 9110, section 11.1), the token is not.
            scheme, _, token = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
            if not (hmac.compare_digest(token, self.expected) and scheme.lower() == b"bearer"):
                inner = JSONResponse({"error": "send the header 'Authorization: Bearer <token>'"}, 401)
        await inner(scope, receive, send)


class Routes:
    """The server's routes."""

    def __init__(self, server: ModelServer):
        self.server = server
        self.name, self.version = server.model["name"], server.config["version"]
        self.max_body_bytes = server.config["max_body_bytes"]

    def all(self) -> list[Route]:
        """The routes of the Open Inference Protocol, with and without a version, and ``/metrics``."""
        ready = always({"ready": True})
        routes = [
            Route("/v2", always({"name": "evergreen", "version": "1", "extensions": ["binary_tensor_data"]})),
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
        """The server's metrics in the Prometheus text format."""
        return Response(self.server.metrics.exposition(), media_type="text/plain; version=0.0.4")

    async def infer(self, request: Request) -> Response:
        """Predict, and record the request's status and duration."""
        started = time.perf_counter()
        content: dict[str, Any]
        try:
            json_length = length_of_json(request.headers.get("inference-header-content-length"))
            body = decoded(await self._read(request), request.headers.get("content-encoding", ""), self.max_body_bytes)
        except TooLargeError:
            code, content = 413, {"error": f"the request body exceeds {self.max_body_bytes} bytes; send fewer rows"}
        except UndecodableError as error:
            code, content = error.code, {"error": str(error)}
        else:
            code, content = await run_in_threadpool(self.server.answer, body, json_length)
        self.server.metrics.count(code, time.perf_counter() - started)
        own_id = content.get("parameters", {}).get("server_request_id")
        return JSONResponse(content, code, {"x-request-id": own_id} if own_id else None)

    async def not_found(self, _: Request, __: Exception) -> Response:
        """The response for any other path."""
        text = f"no such route; this server serves model '{self.name}', version '{self.version}'"
        return JSONResponse({"error": text}, 404)

    async def _read(self, request: Request) -> bytes:
        """The request body; raises TooLargeError as soon as it exceeds the limit."""
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.max_body_bytes:
            raise TooLargeError
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.max_body_bytes:
                raise TooLargeError
        return body


class TooLargeError(Exception):
    """A request's body exceeds the limit, as sent or decompressed."""


class UndecodableError(Exception):
    """A request's body can't be decompressed; the message says why."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


def length_of_json(header: str | None) -> int | None:
    """The value of ``Inference-Header-Content-Length``; None without it. Raises UndecodableError."""
    if header is None:
        return None
    if not (header.isascii() and header.isdigit() and len(header) < 12):
        raise UndecodableError(400, f"the header Inference-Header-Content-Length is {header!r}; expected a number")
    return int(header)


def decoded(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its ``Content-Encoding`` (gzip or deflate), of which never more than ``limit`` bytes are made.

    Raises TooLargeError and UndecodableError.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UndecodableError(415, f"Content-Encoding '{encoding}' is not supported; send gzip, deflate or plain JSON")
    unpacked = zlib.decompressobj(zlib.MAX_WBITS | 32)  # finds out by itself whether it is gzip or zlib
    try:
        content = unpacked.decompress(body, limit + 1)
    except zlib.error as error:
        raise UndecodableError(400, f"the body is not {encoding}: {error}") from None
    if len(content) > limit:
        raise TooLargeError
    if not unpacked.eof:
        raise UndecodableError(400, f"the body is cut off: its {encoding} stream has no end")
    return content


def always(content: Mapping[str, object]) -> Callable[[Request], Awaitable[Response]]:
    """A handler that returns the same JSON for every request."""

    async def answer(_: Request) -> Response:
        return JSONResponse(content)

    return answer


def make_app(server: ModelServer) -> Starlette:
    """The server's application: its routes behind the bearer token."""
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


def main(config: ServerConfig) -> None:
    """Load the model and serve it until SIGTERM."""
    # uvicorn raises the signal again once all requests are answered.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = ModelServer(config)
    uvicorn.run(
        make_app(server),
        http=ServerProtocol,
        host=config["host"],
        port=config["port"],
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=20,
    )


if __name__ == "__main__":
    run(main)
