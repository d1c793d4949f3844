"""Moves what is new in a model's prediction log into the lake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from evergreen.model_dags import spec_of
from evergreen.run_params import params_of
from include.core.run_params import MonitoringParams, check_window


class GatherPredictionsOperator(BaseOperator):
    """Gather the prediction log of ``model``; returns what was found (rows by window, torn and broken lines).

    First it refuses a param ``window`` that can't be measured. A model of which nothing was ever released has no
    health: the task is skipped, and so is the rest.
    """

    def __init__(self, *, model: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.model = model

    def execute(self, context: Any) -> dict[str, Any]:
        from include.adapters.data.predictions import gather
        from include.stages.installation import open_installation

        params = params_of(context, MonitoringParams)
        if params.window:
            grain = spec_of(self.model).monitoring.window
            check_window(params.window, grain, datetime.now(UTC).replace(tzinfo=None))
        installation = open_installation()
        if installation.store.release(self.model, "production").revision == 0:
            raise AirflowSkipException(f"nothing of {self.model} was ever released")
        settings = installation.settings
        installation.engine.fetch_predictions(self.model)
        found = gather(spec_of(self.model), installation.store, settings.prediction_log / self.model, settings.lake)
        self.log.info(
            "%d rows from %d segments (%d torn, %d broken lines): %s",
            found.rows, found.segments, found.torn_lines, found.broken_lines, dict(found.windows),
        )  # fmt: skip
        return found.as_dict()
