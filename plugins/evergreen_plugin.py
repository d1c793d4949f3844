"""This project's only plugin: its additions to Airflow's api-server.

Airflow loads this file in all its processes, tasks included, so only the api-server imports what the routes need.
"""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class EvergreenPlugin(AirflowPlugin):
    """Routes below ``/evergreen`` (:mod:`evergreen.web`); a lock for writing requests (:mod:`evergreen.write_lock`);
    a listener that ends each run with a note (:mod:`evergreen.run_note_listener`).
    """

    name = "evergreen"

    @property
    def listeners(self) -> list[object]:  # type: ignore[override]
        """The listener for the notes of runs. Only the scheduler calls it; importing it is cheap."""
        from evergreen import run_note_listener

        return [run_note_listener]

    @property
    def fastapi_apps(self) -> list[dict[str, object]]:  # type: ignore[override]
        """The routes of :mod:`evergreen.web`."""
        from evergreen.web import app

        return [{"app": app, "url_prefix": "/evergreen", "name": "evergreen"}]

    @property
    def external_views(self) -> list[dict[str, str]]:  # type: ignore[override]
        """*Models* in the navigation, and a tab on the pages of Dags (:mod:`evergreen.model_pages`)."""
        from urllib.parse import urlsplit

        from airflow.configuration import conf

        ui = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/") + "/evergreen/ui"
        return [
            {"name": "Models", "href": f"{ui}/models", "destination": "nav", "url_route": "evergreen-models"},
            {"name": "Model", "href": f"{ui}/dags/{{DAG_ID}}", "destination": "dag", "url_route": "evergreen-model"},
        ]

    @property
    def fastapi_root_middlewares(self) -> list[dict[str, object]]:  # type: ignore[override]
        """A lock for requests that write, if Airflow's database is SQLite."""
        from airflow.configuration import conf

        from evergreen.write_lock import WriteLock

        if not conf.get("database", "sql_alchemy_conn").startswith("sqlite"):
            return []
        return [{"middleware": WriteLock, "args": [], "kwargs": {}, "name": "evergreen write lock"}]
