"""Train a candidate in its build's own environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import Context

from evergreen.model_task import TRAINING, ModelTask
from evergreen.run_params import params_of
from include.core.run_params import TrainingParams

if TYPE_CHECKING:
    from include.stages.training import Candidate


class TrainCandidateOperator(ModelTask):
    """Train on a snapshot, then let candidate and champion predict the same unseen holdout.

    The run's param ``parameters`` overrides the spec's arguments of the estimator function. Runs the model's code in a
    separate, confined process. Returns ``{"folder", "champion", "build", "commit", "holdout_from",
    "holdout_until"}``.

    :param model: name of the model.
    :param snapshot: hash of the snapshot.
    :param build: build to train with; empty for the newest passed build.
    """

    inputs = ("snapshot", "build")
    ui_color = TRAINING
    snapshot: str
    build: str = ""

    def execute(self, context: Context) -> Candidate:
        """Return the candidate's folder, champion and holdout, with its build and commit."""
        from include.stages import training

        candidate = training.train_candidate(
            self.installation,
            self.spec,
            self.build,
            self.snapshot,
            context["dag_run"].run_id,
            params_of(context, TrainingParams).parameters,
        )
        self.log.info("trained with build %s (commit %s)", candidate["build"], candidate["commit"])
        return candidate
