"""Publishes measured health: its pages, and the asset that retraining waits for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from airflow.sdk import BaseOperator

from evergreen.assets import model_asset
from evergreen.model_dags import spec_of


class PublishHealthOperator(BaseOperator):
    """Write the pages of ``windows`` and the page of their history, then tell ``<model>/health``.

    Returns ``{"window", "status", "report"}`` of the window measured last, which also is the asset event's extra.
    """

    template_fields = ("windows",)

    def __init__(self, *, model: str, windows: Any, **kwargs: Any):
        super().__init__(outlets=[model_asset(model, "health")], **kwargs)
        self.model = model
        self.windows = windows

    def execute(self, context: Any) -> dict[str, Any]:
        from include.core.health.policy import evaluate_policy
        from include.pages.history import write_history
        from include.pages.window import write_report
        from include.stages.installation import open_installation

        spec, store = spec_of(self.model), open_installation().store
        history, incidents = store.health(self.model), store.incidents(self.model)
        for window in pages_to_write(history, self.windows):
            until = [row for row in history if row["window"] <= window]
            before = [incident for incident in incidents if incident["window"] <= window]
            verdict = evaluate_policy(spec, until, before).verdict
            path = write_report(spec, window, history, before, verdict)
            self.log.info("%s: %s. %s", window, verdict, path)
        index = write_history(spec, history, incidents, evaluate_policy(spec, history, incidents).verdict)
        self.log.info("all windows: %s", index)
        row = next(row for row in history if row["window"] == self.windows[-1])
        event = {"window": row["window"], "status": row["status"], "report": row["report"]}
        context["outlet_events"][model_asset(self.model, "health")].extra = {**event, "windows": list(self.windows)}
        return event


def pages_to_write(history: list[dict[str, Any]], measured: list[str]) -> list[str]:
    """The measured windows, and the one before each, whose page links to it, unless its health has an older form."""
    neighbours = [
        earlier["window"]
        for earlier, later in pairwise(history)
        if later["window"] in measured and earlier.keys() >= later.keys()
    ]
    return sorted({*measured, *neighbours})
