"""Fail if a window could not be measured, after the others were measured and published."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import HEALTH, ModelTask


class CheckMeasurementOperator(ModelTask):
    """Fail with the problem of each window that could not be measured, so that somebody is alerted.

    :param model: name of the model.
    :param windows: the windows that were to be measured.
    """

    inputs = ("windows",)
    ui_color = HEALTH
    windows: list[str]

    def execute(self, context: Context) -> None:
        """Raise DataError if there is such a window."""
        from include.stages.monitoring import require_measured

        require_measured(self.installation, self.spec, self.windows)
