"""Caddy's configuration: the gateway in front of the model servers, and MLflow behind a password."""

from __future__ import annotations

from typing import Any

from include.settings import Settings


def gateway_config(settings: Settings, mlflow_password_hash: str) -> dict[str, Any]:
    """The base configuration; the reconciler adds one route for each model that serves.

    The admin API is a unix socket in a folder that only the owner may enter. What no route takes is answered with
    401 without the bearer token, and with 404 with it.
    """
    token = settings.secret("prediction_token")
    return {
        "admin": {"listen": f"unix/{settings.run / 'caddy.sock'}|0600", "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "WARN"}}},
        "storage": {"module": "file_system", "root": str(settings.run / "caddy")},
        "apps": {
            "http": {
                "metrics": {},
                "servers": {
                    "gateway": {
                        "listen": [f"127.0.0.1:{settings.gateway_port}"],
                        "automatic_https": {"disable": True},
                        "routes": [
                            {
                                "@id": "anonymous",
                                "match": [{"not": [{"header": {"Authorization": [f"Bearer {token}"]}}]}],
                                "handle": [_answer(401, "send the header 'Authorization: Bearer <token>'")],
                                "terminal": True,
                            },
                            {"@id": "fallback", "handle": [_answer(404, "no model serves here")]},
                        ],
                    },
                    "mlflow": {
                        "listen": [f"127.0.0.1:{settings.mlflow_port}"],
                        "automatic_https": {"disable": True},
                        "routes": [
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
                                        "upstreams": [{"dial": f"unix/{settings.run / 'mlflow.sock'}"}],
                                    },
                                ]
                            }
                        ],
                    },
                },
            }
        },
    }


def _answer(status: int, error: str) -> dict[str, Any]:
    return {
        "handler": "static_response",
        "status_code": status,
        "headers": {"Content-Type": ["application/json"]},
        "body": f'{{"error": "{error}"}}',
    }
