"""The tasks that ask people: what Airflow shows, whom it notifies, and what an answer or its lack does to the run."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException, DownstreamTasksSkipped, TaskAwaitingInput

from evergreen.model_task import ModelTask
from evergreen.operators.approve_release import ApproveReleaseOperator
from evergreen.operators.approve_retraining import ApproveRetrainingOperator
from evergreen.operators.settle_release import SettleReleaseOperator
from evergreen.operators.trigger_training import TriggerTrainingOperator
from include.core.approval import newest_approval
from include.core.errors import GateError
from include.core.spec import ModelSpec
from include.settings import Settings
from include.stages import approval, deployment
from include.stages.installation import Installation, open_installation
from tests.support.notified_runs import BASE, Run, context_of
from tests.support.receivers import Webhook
from tests.support.specs import model_spec

RUN = Run().run_id
ASKS = model_spec(
    deployment={"approval": {"required": True, "hours": 0.5, "approvers": ["ann", "bob"]}},
    degradation={"drop": 0.05, "mode": "ask"},
)
DEGRADED: Any = {"incident": "late-2013-05", "window": "2013-05", "reason": "worse by 0.1", "signals": {"version": "2"}}
REQUIRED = f"{BASE}/dags/late.{{}}/runs/manual__2026-11-28T00%3A00%3A00%2B00%3A00/tasks/{{}}/required_actions"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """An installation on which version 2 serves, and whose model.yaml asks."""
    made = open_installation(Settings(home=tmp_path))
    now = made.store.release("late", "production")
    made.store.swap_release(now, now.promote("2", "2 promoted by first"))
    set_spec(monkeypatch, ASKS)
    monkeypatch.setattr(ModelTask, "installation", property(lambda _: made))
    return made


def set_spec(monkeypatch: pytest.MonkeyPatch, spec: ModelSpec) -> None:
    monkeypatch.setattr(ModelTask, "spec", property(lambda _: spec))


@pytest.fixture
def details(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the tasks send to Airflow, which only takes it from a task that runs under its supervisor."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **values: sent.append(values))
    return sent


def in_dag(kind: Any, dag_id: str, **arguments: Any) -> Any:
    """The operator with a task after it, in a Dag with a parameter of its own, and its context."""
    with DAG(dag_id, schedule=None, params={"version": "3"}) as dag:
        asks = kind(task_id=kind.__name__, model="late", response_timeout=timedelta(hours=24), **arguments)
        asks >> ModelTask(task_id="next", model="late")
    context = context_of(dag_id, dag=dag)
    context["task_instance"] = context["ti"]
    context["task"], context["ti"].id, context["ti"].map_index = asks, "1", -1
    return asks, context


def release_task() -> Any:
    return in_dag(ApproveReleaseOperator, "late.deployment", version="3")


def retraining_task() -> Any:
    return in_dag(ApproveRetrainingOperator, "late.retraining", degraded=DEGRADED)


def answered(chosen: str, user: dict[str, str] | None, remark: str | None = None) -> dict[str, Any]:
    return {
        "chosen_options": [chosen],
        "params_input": {"remark": remark},
        "responded_at": datetime(2026, 11, 29, tzinfo=UTC),
        "responded_by_user": user,
        "timedout": user is None,
    }


ANN = {"id": "ann", "name": "Ann"}


def check(here: Installation) -> Any:
    found = newest_approval(here.store.rollout_checks("late", RUN), RUN)
    assert found is not None
    return found.verdict


def test_a_release_waits_with_its_evidence_and_people_are_notified(
    here: Installation, details: list[Any], chat: Webhook
) -> None:
    task, context = release_task()
    with pytest.raises(TaskAwaitingInput) as parked:
        task.execute(context)
    assert parked.value.timeout == timedelta(minutes=30), "today's model.yaml decides, not the Dag as it was parsed"
    (shown,) = details
    assert shown["subject"] == "Deploy version 3 of late?"
    assert f"[Rollout]({BASE}/evergreen/ui/models/late/rollouts/manual__2026" in shown["body"]
    assert (shown["options"], shown["defaults"]) == (["Approve", "Reject"], ["Reject"])
    assert shown["assigned_users"] == [{"id": "ann", "name": "ann"}, {"id": "bob", "name": "bob"}]
    assert list(shown["params"]) == ["remark"], "not the parameters of the Dag"
    assert check(here).answer == "hold"
    assert chat.texts == [
        "late version 3: approval wanted\nCause: it has passed the test environment\n"
        f"Answer: {REQUIRED.format('deployment', 'ApproveReleaseOperator')}"
    ]


def asked(make: Any) -> Any:
    task, context = make()
    with pytest.raises(TaskAwaitingInput):
        task.execute(context)
    return make()[0], context  # Airflow resumes it in another process


def test_an_approval_is_recorded_in_the_store(here: Installation, details: list[Any]) -> None:
    task, context = asked(release_task)
    verdict = task.execute_complete(context, answered("Approve", ANN, "fine"))
    assert verdict == check(here).as_dict()
    assert (verdict["answer"], verdict["reason"]) == ("pass", "approved by Ann: fine")


def test_a_rejection_skips_the_canary_and_the_run_ends_green(
    here: Installation, details: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "settle", lambda *_: here.store.release("late", "production"))
    task, context = asked(release_task)
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        task.execute_complete(context, answered("Reject", ANN, "too risky"))
    assert skipped.value.tasks == ["next"]
    assert context["ti"].xcoms["task", "verdict"]["reason"] == "rejected by Ann: too risky", "for the run's note"
    context["ti"].xcoms[("choose", "version")] = "3"
    settled = SettleReleaseOperator(task_id="settle", model="late", choose="choose").execute(context)
    assert settled["champion"] == "2"


def test_without_an_answer_the_run_ends_red(
    here: Installation, details: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "settle", lambda *_: here.store.release("late", "production"))
    task, context = asked(release_task)
    with pytest.raises(GateError, match=r"version 3 is not deployed.*: nobody answered within 0.5 h\. Run late.deploy"):
        task.execute_complete(context, answered("Reject", None))
    assert check(here).reason == "nobody answered within 0.5 h"
    assert context["ti"].xcoms["task", "verdict"]["answer"] == "fail", "for the run's note"
    context["ti"].xcoms[("choose", "version")] = "3"
    with pytest.raises(GateError, match="did not reach production"):
        SettleReleaseOperator(task_id="settle", model="late", choose="choose").execute(context)


def test_an_answer_of_somebody_who_was_struck_off_meanwhile_fails(here: Installation, details: list[Any]) -> None:
    task, context = asked(release_task)
    with pytest.raises(GateError, match="answered by Eve, who is not among the approvers"):
        task.execute_complete(context, answered("Approve", {"id": "eve", "name": "Eve"}))
    assert check(here).answer == "fail"


@pytest.mark.parametrize("wrong", [{"remark": "x" * 301}, {"remark": 1}, {"other": "x"}])
def test_a_form_that_airflow_refuses_leaves_the_gate_closed(
    here: Installation, details: list[Any], wrong: dict[str, Any]
) -> None:
    task, context = asked(release_task)
    with pytest.raises(Exception, match=r".*") as refused:
        task.execute_complete(context, answered("Approve", ANN) | {"params_input": wrong})
    assert not isinstance(refused.value, TaskAwaitingInput)
    assert check(here).answer == "hold"


def test_a_cleared_task_asks_again_but_not_about_other_evidence(
    here: Installation, details: list[Any], chat: Webhook
) -> None:
    task, context = asked(release_task)
    task.execute_complete(context, answered("Approve", ANN))
    with pytest.raises(TaskAwaitingInput):
        release_task()[0].execute(context)
    assert check(here).answer == "hold"
    assert len(chat.posted) == 1, "people know"
    now = here.store.release("late", "production")
    here.store.swap_release(now, now.promote("4", "4 promoted by another"))
    with pytest.raises(GateError, match="evidence has changed"):
        release_task()[0].execute(context)
    assert len(details) == 2


def test_a_retraining_waits_with_its_evidence_and_is_asked_about_once(
    here: Installation, details: list[Any], chat: Webhook
) -> None:
    asked(retraining_task)
    (shown,) = details
    assert shown["subject"] == "Retrain late for incident late-2013-05?"
    assert chat.texts[0].splitlines()[:2] == [
        "late version 2: incident late-2013-05 opened, approval of a training wanted", "Cause: worse by 0.1",
    ]  # fmt: skip
    task, context = retraining_task()
    with pytest.raises(AirflowSkipException, match="open already, and its question was asked in run manual__2026"):
        task.execute({**context, "dag_run": Run("second")})
    assert len(details) == 1


@pytest.mark.parametrize(
    ("chosen", "user", "kept"),
    [("Approve", ANN, "approved by Ann"), ("Reject", ANN, "rejected by Ann"), ("Reject", None, "unanswered: nobody")],
)
def test_a_training_starts_only_after_an_approval(
    here: Installation, details: list[Any], chat: Webhook, chosen: str, user: Any, kept: str
) -> None:
    task, context = asked(retraining_task)
    with nullcontext() if chosen == "Approve" else pytest.raises(DownstreamTasksSkipped):
        task.execute_complete(context, answered(chosen, user))
    assert here.store.incident_events("late")[-1].sentence.startswith(kept)
    approved = chosen == "Approve"
    trigger = TriggerTrainingOperator(task_id="trigger_training", model="late", degraded=DEGRADED)
    with pytest.raises(Exception, match=r".*") as ended:
        trigger.execute(context_of("late.retraining", ti=SimpleNamespace(try_number=2), dag=context["dag"]))
    assert type(ended.value).__name__ == ("DagRunTriggerException" if approved else "GateError")
    assert len(chat.posted) == 1, "the question has said that the incident is open"


def test_the_answer_is_taken_by_the_gate_of_the_canary(here: Installation, details: list[Any]) -> None:
    task, context = asked(release_task)
    with pytest.raises(GateError, match="waits for an answer"):
        approval.require_approval(here, ASKS, "3", RUN, "2")
    task.execute_complete(context, answered("Approve", ANN))
    approval.require_approval(here, ASKS, "3", RUN, "2")
