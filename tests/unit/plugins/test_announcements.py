"""What people are told of promotions, rollbacks and incidents, received by a real webhook."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from evergreen.model_task import ModelTask
from evergreen.notifications import EvergreenNotifier, announce
from evergreen.operators.offer_candidate import OfferCandidateOperator
from evergreen.operators.promote_release import PromoteReleaseOperator
from evergreen.operators.roll_back_release import RollBackReleaseOperator
from evergreen.operators.settle_release import SettleReleaseOperator
from evergreen.operators.trigger_training import TriggerTrainingOperator
from include.core.errors import GateError
from include.core.release.release import Release
from include.stages import approval, deployment, retraining, rollback
from tests.support.notified_runs import RUN_URL, Run, context_of
from tests.support.receivers import Webhook
from tests.support.specs import model_spec


def test_a_retry_does_not_repeat_a_message(chat: Webhook) -> None:
    context = context_of()
    announce(context, "late version 3 is in production", "passed")
    context["ti"].try_number = 2
    announce(context, "late version 3 is in production", "passed")
    assert len(chat.posted) == 1


def test_a_message_that_was_not_delivered_is_sent_by_the_next_try(chat: Webhook) -> None:
    context = context_of()
    chat.status = 500
    announce(context, "late version 3 is in production", "passed")
    chat.status = 200
    announce(context, "late version 3 is in production", "passed")
    assert len(chat.posted) == 2


def test_no_announcement_fails_a_task(caplog: pytest.LogCaptureFixture) -> None:
    announce({}, "late version 3 is in production")
    assert "could not notify of: late version 3 is in production" in caplog.text


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [("pass", "promoted, deployment follows"), ("hold", "not promoted, production is unchanged")],
)
def test_the_outcome_of_an_incident_is_announced(chat: Webhook, answer: str, outcome: str) -> None:
    verdict = {"answer": answer, "reason": "0.71 against 0.72"}
    operator = OfferCandidateOperator(task_id="offer", model="late", version="4", verdict=verdict, incident="late-05")
    context = context_of("late.training", outlet_events={operator.asset: Outlet()})
    if answer == "pass":
        operator.execute(context)
    else:
        with pytest.raises(AirflowSkipException):
            operator.execute(context)
    assert chat.texts[0].startswith(
        f"late version 4, trained for incident late-05: {outcome}\nCause: 0.71 against 0.72"
    )


def test_a_training_without_an_incident_is_nobodys_concern(chat: Webhook) -> None:
    verdict = {"answer": "pass", "reason": "better"}
    operator = OfferCandidateOperator(task_id="offer", model="late", version="4", verdict=verdict)
    operator.execute(context_of("late.training", outlet_events={operator.asset: Outlet()}))
    assert chat.posted == []


class Outlet:
    """Where an operator leaves the extra of its asset event."""

    extra: Any = None


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Operators without a platform: the stages that they call are replaced by each test."""
    monkeypatch.setattr(ModelTask, "spec", property(lambda _: model_spec()))
    monkeypatch.setattr(ModelTask, "installation", property(lambda _: None))
    monkeypatch.setattr(approval, "rejection", lambda *_: "")
    return monkeypatch


def test_a_promotion_is_announced_with_the_canarys_verdict(chat: Webhook, staged: pytest.MonkeyPatch) -> None:
    release = Release("late", "production", 3, {"3": 100}, ("2",), "3")
    staged.setattr(deployment, "promote", lambda *_, **__: release)
    staged.setattr(deployment, "production_image", lambda *_: None)
    operator = PromoteReleaseOperator(task_id="promote", model="late", version="3", verdict={"reason": "all is well"})
    operator.execute(context_of(outlet_events={operator.asset: Outlet()}))
    assert chat.texts == [f"late version 3 is in production, instead of version 2\nCause: all is well\nRun: {RUN_URL}"]


def test_a_canary_that_was_rolled_back_is_announced_once_with_the_failure_behind_it(
    chat: Webhook, staged: pytest.MonkeyPatch
) -> None:
    run = Run().run_id
    staged.setattr(deployment, "owns_rollout", lambda *_: True)
    release = Release("late", "production", 3, {"2": 100}, (), "2", note=f"rolled back by {run}")
    staged.setattr(deployment, "settle", lambda *_: release)
    context = context_of(tasks=("choose", "watch_canary", "settle"))
    ti = context["ti"]
    ti.task_id, ti.states = "settle", {"watch_canary": "failed"}
    ti.xcoms = {("choose", "version"): "3", ("watch_canary", "error"): "the canary failed: 9 of 20 requests"}
    with pytest.raises(GateError):
        SettleReleaseOperator(task_id="settle", model="late", choose="choose").execute(context)
    title = "late version 3: its canary was rolled back; version 2 serves"
    assert chat.texts == [f"{title}\nCause: watch_canary: the canary failed: 9 of 20 requests\nRun: {RUN_URL}"]
    ti.states["settle"] = "failed"
    EvergreenNotifier()(context)
    assert len(chat.posted) == 1, "the failed run is the same news"


def test_a_run_that_failed_before_its_canary_rolls_nothing_back(chat: Webhook, staged: pytest.MonkeyPatch) -> None:
    staged.setattr(deployment, "settle", lambda *_: Release("late", "production", 2, {"2": 100}, (), "2", note="2"))
    context = context_of(tasks=("choose", "verify", "settle"))
    context["ti"].xcoms = {("choose", "version"): "3"}
    with pytest.raises(GateError):
        SettleReleaseOperator(task_id="settle", model="late", choose="choose").execute(context)
    assert chat.posted == []


def test_a_rollback_by_hand_is_announced_with_who_did_it(chat: Webhook, staged: pytest.MonkeyPatch) -> None:
    release = Release("late", "production", 4, {"1": 100}, ("2",), "1", note="rolled back by hand in manual__1")
    staged.setattr(rollback, "roll_back", lambda *_: release)
    operator = RollBackReleaseOperator(task_id="roll_back", model="late")
    operator.execute(context_of(outlet_events={operator.asset: Outlet()}))
    assert chat.texts == [
        "late: rolled back by hand; version 1 is in production\n"
        f"Cause: rolled back by hand in manual__1 by admin\nRun: {RUN_URL}"
    ]


def test_an_incident_is_announced_when_it_is_opened_and_not_again(chat: Webhook, staged: pytest.MonkeyPatch) -> None:
    opened = iter([True, False])
    staged.setattr(retraining, "open_incident", lambda *_: next(opened))
    degraded = {"incident": "late-2013-05", "window": "2013-05", "reason": "worse by 0.1", "signals": {"version": "2"}}
    for run in ("first", "second"):
        operator = TriggerTrainingOperator(task_id="trigger", model="late", degraded=degraded)
        with pytest.raises(Exception, match=r".*") as ended:
            operator.execute(context_of("late.retraining", dag_run=Run(run)))
        assert type(ended.value).__name__ == "DagRunTriggerException"
    assert [text.splitlines()[:2] for text in chat.texts] == [
        ["late version 2: incident late-2013-05 opened", "Cause: worse by 0.1"]
    ]
