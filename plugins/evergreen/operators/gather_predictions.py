"""Copy new lines of a model's prediction log into the lake."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import Context

from evergreen.model_task import HEALTH, ModelTask
from evergreen.run_params import params_of
from include.core.json_types import JsonObject
from include.core.run_params import MonitoringParams, check_window


class GatherPredictionsOperator(ModelTask):
    """Gather the prediction log; return the counts (rows by window, truncated and malformed lines).

    It first refuses a param ``window`` that can't be measured. A model without any release has no health: the task is
    skipped, and so are the tasks after it.

    :param model: name of the model.
    """

    ui_color = HEALTH

    def execute(self, context: Context) -> JsonObject:
        """Return the counts; raises AirflowSkipException when the model has never been released."""
        from include.stages.monitoring import gather_predictions

        window = params_of(context, MonitoringParams).window
        if window:
            check_window(window, self.spec.monitoring.window, datetime.now(UTC).replace(tzinfo=None))
        if self.installation.store.release(self.model, "production").revision == 0:
            self.skip_because(f"{self.model} has never been released")
        gathered = gather_predictions(self.installation, self.spec)
        self.log.info(
            "%d rows from %d segments (%d truncated, %d malformed lines): %s",
            gathered.rows, gathered.segments, gathered.truncated_lines, gathered.malformed_lines,
            dict(gathered.windows),
        )  # fmt: skip
        return gathered.as_dict()
