"""Register the candidate in the model registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from evergreen.model_task import TRAINING, ModelTask
from evergreen.run_params import params_of
from include.core.json_types import JsonObject
from include.core.run_params import TrainingParams

if TYPE_CHECKING:
    from include.stages.training import Candidate


class RegisterCandidateOperator(ModelTask):
    """Log the candidate as an MLflow run and register it as the model's next version.

    Promoted or not, each candidate is kept with its lineage: commit, build, snapshot, run and reason. A promoted one
    gets the alias ``challenger``. Returns
    ``{"version", "verdict", "build"}``.

    :param model: name of the model.
    :param snapshot: hash of the snapshot.
    :param candidate: what :class:`TrainCandidateOperator` returned.
    :param verdict: what :class:`CompareWithChampionOperator` returned.
    :param reason: why the training ran; empty: what started the run.
    :param incident: the incident that the training responds to, if any.
    """

    inputs = ("snapshot", "candidate", "verdict", "reason", "incident")
    ui_color = TRAINING
    snapshot: str
    candidate: Candidate
    verdict: JsonObject
    reason: str
    incident: str = ""

    def execute(self, context: Context) -> dict[str, str]:
        """Complete the candidate's bundle and register it."""
        from include.core.verdict import Verdict
        from include.stages import training

        version = training.register(
            self.installation,
            self.spec,
            self.candidate,
            self.snapshot,
            Verdict(self.verdict["answer"], self.verdict["reason"]),
            run_id=context["dag_run"].run_id,
            reason=self.reason or _what_started(context, self.model),
            incident=self.incident,
            parameters=params_of(context, TrainingParams).parameters,
        )
        self.log.info("registered version %s (%s)", version, self.verdict["reason"])
        return {"version": version, "verdict": self.verdict["answer"], "build": self.candidate["build"]}


def _what_started(context: Any, model: str) -> str:
    things = sorted({asset.name.removeprefix(f"{model}/") for asset in context.get("triggering_asset_events") or {}})
    return f"new {' and '.join(things)}" if things else "by hand"
