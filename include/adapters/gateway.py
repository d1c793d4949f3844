"""The gateway: one route a model in Caddy, changed atomically through its admin API.

Traffic is split by weight. A POST that an upstream answers with 5xx, or that can't reach it, is sent again to
another one, so that a broken canary costs the client nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from include.core.errors import PlatformError
from include.settings import settings

ROUTES = "/config/apps/http/servers/gateway/routes"
BUFFERED_BYTES = 1024 * 1024
"""Bodies up to this size can be sent again to another upstream."""


class Gateway:
    """Caddy's admin API on its unix socket."""

    def __init__(self, socket: Path):
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://caddy", timeout=10.0
        )

    def weights(self, model: str) -> dict[str, int]:
        """Upstream address → share of traffic, as the gateway has it now; empty when there is no route."""
        response = self._ask("GET", f"/id/{_route_id(model)}", missing_ok=True)
        if response.status_code == 404:
            return {}
        proxy = response.json()["handle"][0]
        shares = proxy["load_balancing"]["selection_policy"]["weights"]
        return {upstream["dial"]: share for upstream, share in zip(proxy["upstreams"], shares, strict=True)}

    def set_weights(self, model: str, weights: Mapping[str, int]) -> None:
        """Send each address its share of the model's traffic; no addresses removes the route."""
        exists = self._ask("GET", f"/id/{_route_id(model)}", missing_ok=True).status_code != 404
        if not weights:
            if exists:
                self._ask("DELETE", f"/id/{_route_id(model)}")
        elif exists:
            self._ask("PATCH", f"/id/{_route_id(model)}", json=_route(model, weights))
        else:
            self._ask("PUT", f"{ROUTES}/1", json=_route(model, weights))

    def _ask(self, method: str, path: str, *, missing_ok: bool = False, **arguments: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise PlatformError(
                f"the gateway's admin API does not answer ({error}). See 'make status'; 'make up' starts it."
            ) from error
        if response.status_code >= 400 and not (missing_ok and response.status_code == 404):
            raise PlatformError(f"the gateway refused {method} {path}: {response.status_code} {response.text.strip()}")
        return response


def open_gateway() -> Gateway:
    """The installation's gateway."""
    return Gateway(settings().run / "caddy.sock")


def _route_id(model: str) -> str:
    return f"model-{model}"


def _route(model: str, weights: Mapping[str, int]) -> dict[str, Any]:
    return {
        "@id": _route_id(model),
        "match": [{"path": [f"/v2/models/{model}", f"/v2/models/{model}/*"]}],
        "handle": [
            {
                "handler": "reverse_proxy",
                "upstreams": [{"dial": address} for address in weights],
                "request_buffers": BUFFERED_BYTES,
                "load_balancing": {
                    "selection_policy": {"policy": "weighted_round_robin", "weights": list(weights.values())},
                    "retries": 40,
                    "try_duration": "10s",
                    "try_interval": "250ms",
                    "retry_match": [{"method": ["POST"], "expression": "{http.reverse_proxy.status_code} >= 500"}],
                },
                "health_checks": {"passive": {"fail_duration": "2s", "max_fails": 1}},
            }
        ],
        "terminal": True,
    }
