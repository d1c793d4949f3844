"""Ask a person whether a version may get production traffic."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from evergreen.airflow_api import web_ui
from evergreen.approval_task import ApprovalTask
from evergreen.links import ModelLink, RolloutLink
from evergreen.model_task import PRODUCTION
from include.core.errors import GateError
from include.core.json_types import JsonObject


class ApproveReleaseOperator(ApprovalTask):
    """Wait until somebody approves or rejects a version; return the verdict.

    A rejection skips the canary. No answer within ``deployment.approval.hours`` fails the task. The answer is recorded
    in the store, where ``start_canary`` looks for it.

    :param model: name of the model.
    :param version: version in the registry.
    """

    inputs = ("version",)
    ui_color = PRODUCTION
    operator_extra_links = (ModelLink(), RolloutLink())
    version: str

    def execute(self, context: Context) -> None:
        """Ask."""
        from include.stages.approval import ask_for_release

        run, shown = context["dag_run"].run_id, self.shown_before(context)
        asked = ask_for_release(self.installation, self.spec, self.version, run, web_ui(), shown)
        event = f"{self.model} version {self.version}: approval wanted"
        self.wait_for_answer(context, asked, self.spec.deployment.approval, event, "it has passed the test environment")

    def execute_complete(self, context: Context, event: dict[str, Any]) -> JsonObject:
        """Record the answer; raises GateError unless somebody who may answer did."""
        from include.stages.approval import answer_for_release

        answer, run = self.read_answer(event), context["dag_run"].run_id
        verdict = answer_for_release(self.installation, self.spec, self.version, run, answer)
        self.leave(context, verdict)
        if not verdict.signals.get("by"):
            raise GateError(
                f"{self.model} version {self.version} is not deployed, and production is unchanged: {verdict.reason}. "
                f"Run {self.model}.deployment with version {self.version} again to ask again."
            )
        super().execute_complete(context, event)  # after a rejection, it skips the next task by an exception
        return verdict.as_dict()
