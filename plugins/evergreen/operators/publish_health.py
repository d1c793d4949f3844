"""Publish measured health: write its pages and update the asset that starts retraining."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import HEALTH, ModelTask


class PublishHealthOperator(ModelTask):
    """Write the pages of the measured windows and the history page, then update ``<model>/health``.

    Returns ``{"window", "status", "report"}`` of the last measured window, which is also the asset event's extra.

    :param model: name of the model.
    :param windows: the windows that were measured.
    """

    inputs = ("windows",)
    outlet = "health"
    ui_color = HEALTH
    windows: list[str]

    def execute(self, context: Context) -> dict[str, str]:
        """Return the last measured window, with its status and page."""
        from include.stages.monitoring import publish_health

        row = publish_health(self.installation, self.spec, self.windows)
        event = {"window": row.window, "status": row.status, "report": row.report}
        context["outlet_events"][self.asset].extra = {**event, "windows": list(self.windows)}
        return event
