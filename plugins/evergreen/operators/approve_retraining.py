"""Ask a person whether an incident may start a training."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from evergreen.airflow_api import web_ui
from evergreen.approval_task import ApprovalTask
from evergreen.model_task import TRAINING
from evergreen.task_results import Degradation, incident_of
from include.core.json_types import JsonObject


class ApproveRetrainingOperator(ApprovalTask):
    """Open the incident, and wait until somebody approves or rejects a training for it; return the verdict.

    Skipped if another run has opened the incident. A rejection, or no answer within ``degradation.question.hours``,
    skips the training. The answer is recorded in the store, where ``trigger_training`` looks for it.

    :param model: name of the model.
    :param degraded: what DegradedHealthSensor returned.
    """

    inputs = ("degraded",)
    ui_color = TRAINING
    degraded: Degradation

    def execute(self, context: Context) -> None:
        """Open the incident and ask."""
        from include.stages.retraining import ask_for_training

        incident, run = incident_of(self.degraded), context["dag_run"].run_id
        shown = self.shown_before(context)
        asked = ask_for_training(self.installation, self.spec, incident, run, web_ui(), shown)
        if isinstance(asked, str):
            self.skip_because(asked)
        version = self.degraded["signals"].get("version")
        event = f"{self.model} version {version}: incident {incident.key} opened, approval of a training wanted"
        self.wait_for_answer(context, asked, self.spec.degradation.question, event, incident.verdict.reason)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> JsonObject:
        """Record the answer."""
        from include.stages.retraining import answer_for_training

        answer, run = self.read_answer(event), context["dag_run"].run_id
        verdict = answer_for_training(self.installation, self.spec, self.degraded["incident"], run, answer)
        self.leave(context, verdict)
        super().execute_complete(context, event)  # after a rejection, it skips the next task by an exception
        return verdict.as_dict()
