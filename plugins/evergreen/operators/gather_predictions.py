"""Moves what is new in a model's prediction log into the lake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from evergreen.model_dags import spec_of
from evergreen.run_params import params_of
from include.core.json_types import JsonObject
from include.core.run_params import MonitoringParams, check_window


class GatherPredictionsOperator(BaseOperator):
    """Gather the prediction log of ``model``; returns what was gathered (rows by window, torn and broken lines).

    First it refuses a param ``window`` that can't be measured. A model of which nothing was ever released has no
    health: the task is skipped, and so is the rest.
    """

    def __init__(self, *, model: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.model = model

    def execute(self, context: Any) -> JsonObject:
        """Return the counts; raises AirflowSkipException when nothing was ever released."""
        from include.stages.installation import open_installation
        from include.stages.monitoring import gather_predictions

        installation, window = open_installation(), params_of(context, MonitoringParams).window
        if window:
            check_window(window, spec_of(self.model).monitoring.window, datetime.now(UTC).replace(tzinfo=None))
        if installation.store.release(self.model, "production").revision == 0:
            raise AirflowSkipException(f"nothing of {self.model} was ever released")
        gathered = gather_predictions(installation, spec_of(self.model))
        self.log.info(
            "%d rows from %d segments (%d torn, %d broken lines): %s",
            gathered.rows, gathered.segments, gathered.torn_lines, gathered.broken_lines, dict(gathered.windows),
        )  # fmt: skip
        return gathered.as_dict()
