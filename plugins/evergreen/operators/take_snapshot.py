"""Freeze the data that a candidate is trained on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from evergreen.model_task import TRAINING, ModelTask
from evergreen.run_params import params_of
from include.core.errors import RunRefusedError
from include.core.run_params import TrainingParams, check_incident, check_window, choose_build

if TYPE_CHECKING:
    from include.core.spec import ModelSpec


class TakeSnapshotOperator(ModelTask):
    """Copy the newest windows of training data into the lake under their content hash.

    The run's param ``window`` is the newest one to take, else it is the newest there is. Before anything is read, it
    refuses a window without data, a build that can't be trained with, and an incident that isn't there. Returns
    ``{"hash", "window", "rows", "windows"}``. Taking the same data again gives the same snapshot.

    :param model: name of the model.
    """

    ui_color = TRAINING

    def execute(self, context: Context) -> dict[str, Any]:
        """Check the run's parameters, then take the snapshot."""
        from include.adapters.data.snapshots import take_snapshot

        spec, params = self.spec, params_of(context, TrainingParams)
        self._check(spec, params)
        snapshot = take_snapshot(spec, params.window or None)
        self.log.info("snapshot %s: %d rows of %s", snapshot.hash[:12], snapshot.rows, ", ".join(snapshot.partitions))
        return {
            "hash": snapshot.hash,
            "window": snapshot.window,
            "rows": snapshot.rows,
            "windows": list(snapshot.partitions),
        }

    def _check(self, spec: ModelSpec, params: TrainingParams) -> None:
        from include.adapters.data.sources import window_exists

        store, window, grain = self.installation.store, params.window, spec.monitoring.window
        if window:
            check_window(window, grain, datetime.now(UTC).replace(tzinfo=None))
        check_incident(params.incident, [incident.key for incident in store.incidents(self.model)])
        choose_build(params.build, store.builds(self.model))
        if window and not window_exists(spec.data.source, window, grain):
            raise RunRefusedError(
                f"parameter 'window': {self.model} has no training data of {window}. "
                "Load it, name another window, or clear the field for the newest there is."
            )
