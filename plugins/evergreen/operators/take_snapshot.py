"""Freeze the data that a candidate is trained on."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import Context

from evergreen.model_task import TRAINING, ModelTask
from evergreen.run_params import params_of
from evergreen.task_results import SnapshotSummary
from include.core.run_params import TrainingParams


class TakeSnapshotOperator(ModelTask):
    """Copy the newest windows of training data into the lake under their content hash.

    The run's param ``window`` is the newest window to include; by default the newest available. Before reading any
    data, it refuses a window without data, a build that can't be used, parameters that its estimator function does not
    have, and an unknown incident. Returns ``{"hash", "window", "rows", "windows"}``. Taking the same data again gives
    the same snapshot.

    :param model: name of the model.
    """

    ui_color = TRAINING

    def execute(self, context: Context) -> SnapshotSummary:
        """Check the run's parameters, then take the snapshot."""
        from include.stages import training

        params, now = params_of(context, TrainingParams), datetime.now(UTC).replace(tzinfo=None)
        snapshot = training.freeze_data(self.installation, self.spec, params, now)
        self.log.info("snapshot %s: %d rows of %s", snapshot.hash[:12], snapshot.rows, ", ".join(snapshot.partitions))
        return {
            "hash": snapshot.hash,
            "window": snapshot.window,
            "rows": snapshot.rows,
            "windows": list(snapshot.partitions),
        }
