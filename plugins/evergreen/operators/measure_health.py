"""Measure the health of a window, and of earlier windows that received new data."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import HEALTH, ModelTask
from include.core.json_types import JsonObject


class MeasureHealthOperator(ModelTask):
    """Measure a window and record its health in the store; return the measured windows.

    Earlier windows are measured again when they have received new rows or still wait for ground truth. A window that
    can't be measured does not hold up the others; ``check_measurement`` fails for it in the end.

    :param model: name of the model.
    :param window: window to measure; empty for the last one that ended before the run.
    :param gathered: what gather_predictions returned.
    """

    inputs = ("window", "gathered")
    ui_color = HEALTH
    window: str
    gathered: JsonObject | None = None

    def execute(self, context: Context) -> list[str]:
        """Return the measured windows, oldest first."""
        from include.adapters.data.gathering import Gathered
        from include.stages.monitoring import last_ended, measure_windows, windows_to_measure

        spec, installation, run = self.spec, self.installation, context["dag_run"]
        gathered = Gathered.from_dict(self.gathered) if self.gathered else Gathered()
        windows = windows_to_measure(installation, spec, self.window or last_ended(spec, run.run_after))
        for row in measure_windows(installation, spec, windows, gathered, run.run_id):
            self.log.info(
                "%s %s: %s, %d predictions, %d with truth, %s, drifted: %s",
                self.model, row.window, row.status, row.predictions, row.rows, row.measured(),
                ", ".join(row.drift.drifted) or "none",
            )  # fmt: skip
        return windows
