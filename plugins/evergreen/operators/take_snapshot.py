"""Freeze the data that a candidate is trained on."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from evergreen.model_dags import spec_of


class TakeSnapshotOperator(BaseOperator):
    """Copy the newest windows of training data into the lake under their content hash.

    Returns ``{"hash", "window", "rows", "windows"}``. Taking the same data again gives the same snapshot.

    :param model: name of the model.
    :param window: newest window to take; empty for the newest there is.
    """

    template_fields = ("window",)
    ui_color = "#e3f1e6"

    def __init__(self, *, model: str, window: str | None = None, **arguments: Any):
        super().__init__(**arguments)
        self.model = model
        self.window = window

    def execute(self, context: Any) -> dict[str, Any]:
        from include.adapters.lake import take_snapshot

        snapshot = take_snapshot(spec_of(self.model), self.window or None)
        self.log.info("snapshot %s: %d rows of %s", snapshot.hash[:12], snapshot.rows, ", ".join(snapshot.partitions))
        return {
            "hash": snapshot.hash,
            "window": snapshot.window,
            "rows": snapshot.rows,
            "windows": list(snapshot.partitions),
        }
