"""Measures the health of a window, and of the earlier ones that something new came for."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from evergreen.model_dags import spec_of


class MeasureHealthOperator(BaseOperator):
    """Measure ``window`` of ``model`` and keep its health in the store; returns the windows that were measured.

    ``window`` may be empty: the window that ended last before the run. ``gathered`` is what gather_predictions
    returned. Earlier windows are measured too when they have rows that their health does not know, or wait for truth.
    """

    template_fields = ("window", "gathered")

    def __init__(self, *, model: str, window: str, gathered: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.model = model
        self.window = window
        self.gathered = gathered

    def execute(self, context: Any) -> list[str]:
        from include.adapters.data.predictions import Gathered
        from include.stages.installation import open_installation
        from include.stages.monitoring import ended_last, measure_health, windows_to_measure

        spec, installation, run = spec_of(self.model), open_installation(), context["dag_run"]
        gathered = Gathered.from_dict(self.gathered) if self.gathered else Gathered()
        windows = windows_to_measure(installation, spec, self.window or ended_last(spec, run.run_after))
        for window in windows:
            row = measure_health(installation, spec, window, gathered, run.run_id)
            figure = row.quality.get(row.metric)
            self.log.info(
                "%s %s: %s, %d predictions, %d with truth, %s %s, drifted: %s",
                self.model, window, row.status, row.predictions, row.rows, row.metric,
                figure.value if figure else None, ", ".join(row.drift.drifted) or "none",
            )  # fmt: skip
        return windows
