"""The gateway: one route per model in Caddy, split between a live server and, during a rollout, a canary.

What changes while clients are connected is not in Caddy's configuration but in three small files that the route reads
for each request: the address ``live``, the address ``canary``, and the canary's ``share``. Changing Caddy's
configuration closes idle connections, and sometimes one that a client has just opened; replacing a file does not.

Requests that the canary fails with 5xx or does not answer are retried once on the live server, so that clients do not
notice a broken canary. If the live server is down, requests wait for it.
"""

from __future__ import annotations

import contextlib
import json
from functools import cached_property
from typing import Any

import httpx
from filelock import FileLock

from include.adapters.files import write_private
from include.adapters.serving.limits import MAX_BODY_BYTES
from include.core.errors import PlatformError
from include.core.json_types import JsonObject
from include.settings import Settings

ROUTES = "/config/apps/http/servers/gateway/routes"
READ_TRIES = 3
SHARE_UNITS = 2**32
"""A share is written as eight hexadecimal digits and applies to requests whose random id (UUID) is below it."""


class Gateway:
    """Caddy's admin API on its unix socket, and the files that the routes read."""

    def __init__(self, settings: Settings):
        self._config = settings.run / "caddy.json"
        self._folder = settings.run / "gateway"
        self._socket = settings.run / "caddy.sock"

    @cached_property
    def _client(self) -> httpx.Client:
        # Caddy closes connections to its admin API when its configuration changes, so none is kept alive.
        limits = httpx.Limits(max_keepalive_connections=0)
        transport = httpx.HTTPTransport(uds=str(self._socket), limits=limits, retries=2)
        return httpx.Client(transport=transport, base_url="http://caddy", timeout=10.0)

    def weights(self, model: str) -> dict[str, int]:
        """Server address → current share of traffic in percent; empty if there is no route."""
        if not self._has_route(model):
            return {}
        live, canary, share = (self._read(model, name) for name in ("live", "canary", "share"))
        try:
            percent = round(100 * int(share, 16) / SHARE_UNITS) if share else 0
        except ValueError:
            return {}  # damaged, so the files must be written again
        return {live: 100 - percent, canary: percent} if percent else {live: 100}

    def split(self, model: str, live: str, canary: str = "", share: int = 0) -> None:
        """Send ``share`` percent (0 to 99) of the model's requests to ``canary`` and the others to ``live``."""
        (self._folder / model).mkdir(parents=True, exist_ok=True)
        if self._read(model, "canary") != canary:
            self._write(model, "share", "")  # the new canary gets no traffic until its address is written
        self._write(model, "live", live)
        self._write(model, "canary", canary)
        self._write(model, "share", f"{round(SHARE_UNITS * share / 100):08x}" if share else "")
        with FileLock(self._folder / ".lock"):
            if not self._has_route(model):
                self._ask("PUT", f"{ROUTES}/1", json=self._route(model))
                self.save_config()

    def remove(self, model: str) -> None:
        """Remove the model's route, if there is one."""
        self._folder.mkdir(exist_ok=True)
        with FileLock(self._folder / ".lock"):
            if not self._has_route(model):
                return
            self._ask("DELETE", f"/id/{_route_id(model)}")
            self.save_config()

    def _has_route(self, model: str) -> bool:
        return self._ask("GET", f"/id/{_route_id(model)}", missing_ok=True).status_code != 404

    def save_config(self) -> None:
        """Save the configuration, so that Caddy has all its routes after a crash."""
        write_private(self._config, json.dumps(self._ask("GET", "/config/").json(), indent=1))

    def _read(self, model: str, name: str) -> str:
        try:
            return (self._folder / model / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def _write(self, model: str, name: str, value: str) -> None:
        path = self._folder / model / name
        if not path.exists() or self._read(model, name) != value:
            write_private(path, value)

    def _route(self, model: str) -> JsonObject:
        def proxy(name: str, **more: Any) -> JsonObject:
            upstream = {"dial": f"{{file.{self._folder / model / name}}}"}
            # Bodies up to the model servers' own limit are buffered, so that they can be sent again.
            return {"handler": "reverse_proxy", "upstreams": [upstream], "request_buffers": MAX_BODY_BYTES, **more}

        # Caddy retries a POST only if configured to; it does so if there was no response, never because of its status.
        retries = {"try_duration": "15s", "try_interval": "50ms", "retry_match": [{"method": ["POST"]}]}
        live = proxy("live", load_balancing=retries)
        retry_on_live = [{"handle": [{"handler": "request_body", "set": "{http.vars.body}"}, live]}]
        canary = proxy("canary", handle_response=[{"match": {"status_code": [5]}, "routes": retry_on_live}])
        split = [
            {
                "match": [{"expression": "{http.request.uuid} < {http.vars.share}"}],
                "handle": [
                    {"handler": "vars", "body": "{http.request.body}"},
                    {"handler": "subroute", "routes": [{"handle": [canary]}], "errors": {"routes": retry_on_live}},
                ],
                "terminal": True,
            },
            {"handle": [live]},
        ]
        return {
            "@id": _route_id(model),
            "match": [{"path": [f"/v2/models/{model}", f"/v2/models/{model}/*"]}],
            "handle": [
                {"handler": "vars", "share": f"{{file.{self._folder / model / 'share'}}}"},
                {"handler": "subroute", "routes": split},
            ],
            "terminal": True,
        }

    def _ask(self, method: str, path: str, *, missing_ok: bool = False, **arguments: Any) -> httpx.Response:
        try:
            response = self._send(method, path, **arguments)
        except httpx.TransportError as error:
            raise PlatformError(
                f"the gateway's admin API does not respond ({error}). See 'make status'; 'make up' starts it."
            ) from error
        if response.status_code >= 400 and not (missing_ok and response.status_code == 404):
            raise PlatformError(f"the gateway refused {method} {path}: {response.status_code} {response.text.strip()}")
        return response

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Caddy replaces its admin server on each change, which may drop a request, so GET requests are retried."""
        for _ in range(READ_TRIES - 1 if method == "GET" else 0):
            with contextlib.suppress(httpx.TransportError):
                return self._client.request(method, path, **arguments)
        return self._client.request(method, path, **arguments)


def _route_id(model: str) -> str:
    return f"model-{model}"
