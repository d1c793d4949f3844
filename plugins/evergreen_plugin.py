"""The one plugin of this project: what it adds to Airflow's api-server.

Airflow loads this file in each of its processes, tasks too: what the routes need is imported by the api-server only.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin


class EvergreenPlugin(AirflowPlugin):
    """Routes below ``/evergreen`` (:mod:`evergreen.web`); turns for requests that write (:mod:`evergreen.turns`)."""

    name = "evergreen"

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The routes of :mod:`evergreen.web`."""
        from evergreen.web import app

        return [{"app": app, "url_prefix": "/evergreen", "name": "evergreen"}]

    @property
    def fastapi_root_middlewares(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Turns for requests that write, where Airflow's database is SQLite."""
        from airflow.configuration import conf

        from evergreen.turns import WritesInTurn

        if not conf.get("database", "sql_alchemy_conn").startswith("sqlite"):
            return []
        return [{"middleware": WritesInTurn, "args": [], "kwargs": {}, "name": "evergreen writes in turn"}]
