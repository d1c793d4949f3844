"""Validate a snapshot against the spec's expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from airflow.sdk import Context

from evergreen.model_task import TRAINING, ModelTask
from include.core.errors import DataError

if TYPE_CHECKING:
    from include.adapters.data.expectations import Failure


class ValidateSnapshotOperator(ModelTask):
    """Run the Great Expectations suite that the spec describes; a failed check fails the run.

    Returns the verdict without its list of failures; the complete verdict is in
    ``reports/<model>/data-<snapshot>.json``.

    :param model: name of the model.
    :param snapshot: hash of the snapshot.
    """

    inputs = ("snapshot",)
    ui_color = TRAINING
    snapshot: str

    def execute(self, context: Context) -> dict[str, str]:
        """Return the short form of the verdict; raises DataError unless it passed."""
        from include.stages import training

        verdict, report = training.validate(self.installation, self.spec, self.snapshot)
        for failure in cast("list[Failure]", verdict.signals["failures"]):
            self.log.error("%s: %s (%s)", failure["column"], failure["check"], failure["observed"])
        if not verdict.passed:
            raise DataError(
                f"{self.model}: {verdict.reason}. Correct the data, or the expectations in model.yaml. Report: {report}"
            )
        self.log.info("%s", verdict.reason)
        return {"answer": verdict.answer, "reason": verdict.reason, "report": str(report)}
