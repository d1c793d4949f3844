"""Notifies people of failed runs, incidents and their outcome, promoted versions and rollbacks.

Messages are always logged, and delivered through the connections of :mod:`evergreen.delivery` that exist.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import BaseNotifier

from evergreen.airflow_api import web_ui
from evergreen.delivery import deliver
from include.core.notification import Notification
from include.core.plain_text import first_sentence
from include.pages.place import Place

log = logging.getLogger(__name__)

ERROR, ANNOUNCED = "error", "announced"
"""XComs of a failed task: the first sentence of its error, and that it has notified people of it."""


class EvergreenNotifier(BaseNotifier):
    """Airflow notifier for any Dag or task: ``on_failure_callback=EvergreenNotifier()``.

    Notifies of a failed run with its first failed task and that task's error, or of what ``subject`` and ``text`` say.

    :param subject: what happened (templated); empty: that the run failed.
    :param text: the cause (templated).
    """

    template_fields = ("subject", "text")

    def __init__(self, subject: str = "", text: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.subject, self.text = subject, text

    def notify(self, context: Any) -> None:
        """Log the message and deliver it. Never raises: a notification must not fail what it is about."""
        try:
            if self.subject:
                message: Notification | None = Notification(self.subject, self.text, run_url(context))
            else:
                message = failure(context)
        except Exception:
            log.exception("could not write the notification")
            return
        if message is not None:
            log.log(logging.INFO if self.subject else logging.ERROR, "%s", message.as_text())
            deliver(message)


def remember_error(context: Any) -> None:
    """Failure callback of every task: leaves its error to the callback of the Dag, which runs in another process."""
    from airflow.sdk.log import redact  # type: ignore[attr-defined]  # Airflow has no public name for it

    error = context.get("exception")
    if error is not None:
        text = str(redact(first_sentence(str(error))))
        context["ti"].xcom_push(ERROR, text or type(error).__name__)


def announce(context: Any, subject: str, cause: str = "", *, of_failure: bool = False, answer: str = "") -> None:
    """Notify of an event from a task, once: a retry or a cleared task does not repeat it. Never raises.

    ``of_failure``: the event is why this run fails. Then the cause is that of the failure, and no second message about
    the failed run follows. ``answer``: the URL of the page on which people can answer, if the event is a question.
    """
    try:
        cause = cause or cause_of_failure(context, failed_tasks(context))
        link = (answer, "Answer") if answer else (run_url(context), "Run")
        message = Notification(subject, cause, *link)
        log.info("%s", message.as_text())
        sent = context["task_state_store"]
        if sent.get(ANNOUNCED):
            log.info("people were notified of this before")
        elif deliver(message):
            sent.set(ANNOUNCED, message.title)
        if of_failure and sent.get(ANNOUNCED):
            context["ti"].xcom_push(ANNOUNCED, message.title)
    except Exception:
        log.exception("could not notify of: %s", subject)


def failure(context: Any) -> Notification | None:
    """The message about a failed run; None if a task of it has already notified people."""
    dag, run = context["dag"].dag_id, run_of(context)
    failed = failed_tasks(context)
    announced = next((text for task in failed if (text := _xcom(context, task, ANNOUNCED))), None)
    if announced:
        log.info("%s: run %s failed, as people know: %s", dag, run, announced)
        return None
    version = _xcom(context, "choose_release", "version") if dag.endswith(".deployment") else None
    subject = f"{dag} failed" + (f", version {version}" if version else "")
    if run.startswith("incident__"):
        subject += f", for incident {run.removeprefix('incident__')}"
    return Notification(subject, cause_of_failure(context, failed), run_url(context))


def cause_of_failure(context: Any, failed: list[str]) -> str:
    """The first of the failed tasks and the first sentence of its error, or Airflow's own reason."""
    if not failed:
        return str(context.get("reason") or "")
    error = _xcom(context, failed[0], ERROR)
    return f"{failed[0]}: {error}" if error else f"{failed[0]} failed; its log says why"


def failed_tasks(context: Any) -> list[str]:
    """The run's failed tasks, in the order of the Dag; empty if Airflow does not say."""
    ti = context.get("ti")
    if ti is None:
        return []
    run = run_of(context)
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[run]).get(run, {})
    tasks = [task.task_id for task in context["dag"].topological_sort()]
    return [task for task in tasks if str(states.get(task)) == "failed"]


def run_of(context: Any) -> str:
    """The id of the Dag run; the context of a Dag's callback may have no ``dag_run``."""
    run = context.get("dag_run")
    return str(run.run_id if run is not None else context.get("run_id", ""))


def run_url(context: Any) -> str:
    """The absolute URL of the run's page in the web UI (``[api] base_url``)."""
    dag = context.get("dag")
    return Place(web_ui()).run(dag.dag_id, run_of(context)) if dag else web_ui()


def _xcom(context: Any, task: str, key: str) -> str | None:
    ti = context.get("ti")
    return ti.xcom_pull(task_ids=task, key=key) if ti is not None else None
