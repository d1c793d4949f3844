"""Publishes measured health: its pages, and the asset that retraining waits for."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from evergreen.assets import model_asset
from evergreen.model_dags import spec_of
from include.core.json_types import JsonObject


class PublishHealthOperator(BaseOperator):
    """Write the pages of ``windows`` and the page of their history, then update ``<model>/health``.

    Returns ``{"window", "status", "report"}`` of the window measured last, which also is the asset event's extra.
    """

    template_fields = ("windows",)

    def __init__(self, *, model: str, windows: Any, **kwargs: Any):
        super().__init__(outlets=[model_asset(model, "health")], **kwargs)
        self.model = model
        self.windows = windows

    def execute(self, context: Any) -> JsonObject:
        """Return the window measured last, with its status and page."""
        from include.stages.installation import open_installation
        from include.stages.monitoring import publish_health

        row = publish_health(open_installation(), spec_of(self.model), self.windows)
        event = {"window": row.window, "status": row.status, "report": row.report}
        context["outlet_events"][model_asset(self.model, "health")].extra = {**event, "windows": list(self.windows)}
        return event
