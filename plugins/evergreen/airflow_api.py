"""Where Evergreen's routes reach Airflow's own API, and where people reach the web UI."""

from __future__ import annotations

from airflow.configuration import conf


def airflow_server() -> str:
    """The URL of this api-server, as Airflow's other components reach it."""
    address = conf.get("core", "execution_api_server_url", fallback="") or conf.get("api", "base_url", fallback="")
    return str(address or "http://localhost:8080").removesuffix("/execution/")


def web_ui() -> str:
    """The absolute URL of the web UI, as people reach it (``[api] base_url``), without a slash at its end."""
    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
