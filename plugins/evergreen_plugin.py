"""The one plugin of this project: its routes in Airflow's api-server, below ``/evergreen``.

Airflow loads this file in each of its processes, tasks too: what the routes need is imported by the api-server only.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin


class EvergreenPlugin(AirflowPlugin):
    """Metrics for Prometheus, and the way from an alert to a retraining; see :mod:`evergreen.web`."""

    name = "evergreen"

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        from evergreen.web import app

        return [{"app": app, "url_prefix": "/evergreen", "name": "evergreen"}]
