"""The base of tasks that ask people to approve something, through Airflow's human-in-the-loop."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param

from evergreen.airflow_api import web_ui
from evergreen.model_task import ModelTask
from evergreen.notifications import announce, run_of
from include.core.approval import REMARK, REMARK_CHARACTERS, Answer, Asked
from include.pages.place import Place

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.core.spec import Question
    from include.core.verdict import Verdict

SHOWN = "shown"
"""The fingerprint of the question that people see: Airflow keeps its text when the task is cleared."""


class ApprovalTask(ModelTask, ApprovalOperator):
    """A task that waits for a person's answer, and holds no worker meanwhile.

    Its question is made when it runs: the arguments of Airflow's operator are only its frame.
    """

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        remark = Param(
            None,
            type=["null", "string"],
            maxLength=REMARK_CHARACTERS,
            title="Remark",
            description="Why; it is kept with your name.",
        )
        kwargs["params"] = {REMARK: remark}  # instead of those of the Dag, which Airflow hands in
        super().__init__(model=model, subject="Approve?", defaults=ApprovalOperator.REJECT, **kwargs)

    def shown_before(self, context: Context) -> str:
        """The fingerprint of the question that people saw in an earlier try; empty if there was none."""
        return str(context["task_state_store"].get(SHOWN) or "")

    def wait_for_answer(self, context: Context, asked: Asked, question: Question, event: str, cause: str) -> None:
        """Put the question to the people who may answer, and notify them of ``event``. Ends by parking the task."""
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        self.subject, self.body = asked.subject, asked.body
        self.assigned_users = [{"id": user, "name": user} for user in question.approvers]
        self.response_timeout = timedelta(hours=question.hours)
        context["task_state_store"].set(SHOWN, asked.fingerprint, retention=NEVER_EXPIRE)
        page = Place(web_ui()).required_action(context["dag"].dag_id, run_of(context), self.task_id)
        announce(context, event, cause, answer=page)
        super().execute(context)

    def read_answer(self, event: dict[str, Any]) -> Answer:
        """The answer, if its form is as Airflow's operator wants it."""
        if "error" in event:
            self.process_trigger_event_error(event)
        self.validate_chosen_options(event["chosen_options"])
        self.validate_params_input(event["params_input"] or {})
        return Answer.of(event)

    def leave(self, context: Context, verdict: Verdict) -> None:
        """Log the verdict, and leave it for the run's note: a task that fails or skips others returns nothing."""
        self.log.info("%s", verdict)
        context["ti"].xcom_push("verdict", verdict.as_dict())
