"""Hold a snapshot against what its spec expects."""

from __future__ import annotations

import json
from typing import Any

from airflow.sdk import Context

from evergreen.model_task import TRAINING, ModelTask
from include.core.errors import DataError
from include.settings import settings


class ValidateSnapshotOperator(ModelTask):
    """Run the Great Expectations suite that the spec describes; a failed check fails the run.

    Returns the verdict without its list of failures; the whole of it stands in
    ``reports/<model>/data-<snapshot>.json``.

    :param model: name of the model.
    :param snapshot: hash of the snapshot.
    """

    inputs = ("snapshot",)
    ui_color = TRAINING
    snapshot: str

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the verdict in short; raises DataError unless it is pass."""
        from include.adapters.data.expectations import check_snapshot
        from include.adapters.data.snapshots import load_snapshot, read_snapshot
        from include.adapters.files import write_atomically

        snapshot = load_snapshot(self.model, self.snapshot)
        verdict = check_snapshot(self.spec, snapshot, read_snapshot(snapshot))
        report = settings().reports / self.model / f"data-{snapshot.hash[:12]}.json"
        write_atomically(report, json.dumps(verdict.as_dict(), indent=1, default=str).encode())
        for failure in verdict.signals["failures"]:
            self.log.error("%s: %s (%s)", failure["column"], failure["check"], failure["found"])
        if not verdict.passed:
            raise DataError(
                f"{self.model}: {verdict.reason}. Correct the data, or the expectations in model.yaml. Report: {report}"
            )
        self.log.info("%s", verdict.reason)
        return {"answer": verdict.answer, "reason": verdict.reason, "report": str(report)}
