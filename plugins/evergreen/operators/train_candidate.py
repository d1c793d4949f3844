"""Train a candidate in its build's own environment."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from evergreen.model_dags import spec_of
from evergreen.run_params import params_of
from include.core.run_params import TrainingParams, choose_build


class TrainCandidateOperator(BaseOperator):
    """Train on a snapshot, then let candidate and champion predict the same unseen holdout.

    The run's param ``parameters`` replaces arguments of the estimator function that the spec gives. Runs the model's
    code as a confined process of its own. Returns ``{"folder", "champion", "build", "commit", "holdout_from",
    "holdout_until"}``.

    :param model: name of the model.
    :param snapshot: hash of the snapshot.
    :param build: build to train with; empty for the newest one that passed.
    """

    template_fields = ("snapshot", "build")
    ui_color = "#e3f1e6"

    def __init__(self, *, model: str, snapshot: str, build: str = "", **arguments: Any):
        super().__init__(**arguments)
        self.model = model
        self.snapshot = snapshot
        self.build = build

    def execute(self, context: Any) -> dict[str, Any]:
        from include.adapters.data.snapshots import load_snapshot
        from include.stages import training as candidate
        from include.stages.installation import open_installation

        installation = open_installation()
        build = choose_build(self.build, installation.store.builds(self.model))
        self.log.info("training with build %s (commit %s)", build.build_id, build.commit)
        snapshot = load_snapshot(self.model, self.snapshot)
        parameters = dict(params_of(context, TrainingParams).parameters)
        made = candidate.train(
            open_installation(), spec_of(self.model), build, snapshot, context["dag_run"].run_id, parameters
        )
        return {**made, "build": build.build_id, "commit": build.commit}
