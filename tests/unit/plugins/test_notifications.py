"""Notifications, received by a real webhook and a real mail server."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException

from evergreen.delivery import deliver
from evergreen.model_task import ModelTask
from evergreen.notifications import EvergreenNotifier, announce, remember_error
from evergreen.operators.offer_candidate import OfferCandidateOperator
from evergreen.operators.promote_release import PromoteReleaseOperator
from evergreen.operators.roll_back_release import RollBackReleaseOperator
from evergreen.operators.settle_release import SettleReleaseOperator
from evergreen.operators.trigger_training import TriggerTrainingOperator
from include.core.errors import GateError
from include.core.notification import Notification
from include.core.release.release import Release
from include.stages import deployment, retraining
from tests.support.receivers import Mailbox, Webhook, mail_server, webhook
from tests.support.specs import model_spec

BASE = "https://airflow.example.test/base"
MESSAGE = Notification("late.ci failed", "the disk is full", f"{BASE}/dags/late.ci/runs/r")


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with webhook() as received:
        connect(monkeypatch, "EVERGREEN_ALERTS", {"conn_type": "http", "host": received.url})
        yield received


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    with mail_server() as received:
        connect(monkeypatch, "EVERGREEN_ALERTS_MAIL", received.connection)
        yield received


@pytest.fixture(autouse=True)
def _base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", f"{BASE}/")


def connect(monkeypatch: pytest.MonkeyPatch, name: str, connection: dict[str, Any]) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))


@dataclass
class Run:
    """The Dag run, as a task and a callback see it."""

    run_id: str = "manual__2026-11-28T00:00:00+00:00"
    triggering_user_name: str | None = "admin"


@dataclass
class Task:
    """The parts of Airflow's task instance that only exist while a task runs under a supervisor."""

    states: dict[str, str] = field(default_factory=dict)
    xcoms: dict[tuple[str, str], Any] = field(default_factory=dict)
    task_id: str = "task"
    dag_id: str = "late.deployment"
    try_number: int = 1

    def get_task_states(self, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        assert dag_id == self.dag_id
        return {run_ids[0]: self.states}

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
        return self.xcoms.get((task_ids, key))

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[self.task_id, key] = value


class State(dict[str, Any]):
    """Airflow's state of a task, which outlives its tries."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def context_of(dag_id: str = "late.deployment", tasks: tuple[str, ...] = (), **changes: Any) -> Any:
    """What Airflow hands to a task or a callback."""
    with DAG(dag_id, schedule=None) as dag:
        before: ModelTask | None = None
        for name in tasks:
            task = ModelTask(task_id=name, model="late")
            if before is not None:
                before >> task
            before = task
    ti = Task(dag_id=dag_id)
    return {
        "dag": dag,
        "ti": ti,
        "dag_run": Run(),
        "run_id": Run().run_id,
        "task_state_store": State(),
        **changes,
    }


RUN_URL = f"{BASE}/dags/late.deployment/runs/manual__2026-11-28T00%3A00%3A00%2B00%3A00"

# delivery


def test_a_message_reaches_chat_and_mail(chat: Webhook, mail: Mailbox) -> None:
    assert deliver(MESSAGE)
    assert chat.posted == [{"text": f"late.ci failed\nCause: the disk is full\nRun: {MESSAGE.link}"}]
    (sent,) = mail.mails
    assert sent["Subject"] == "late.ci failed"
    assert sent["From"] == "evergreen@example.test"
    assert mail.recipients == ["team@example.test", "call@example.test"]
    html = sent.get_body().get_content()
    assert "<p>Cause: the disk is full</p>" in html
    assert f'href="{MESSAGE.link}"' in html


def test_either_connection_may_be_of_either_type(monkeypatch: pytest.MonkeyPatch, mail: Mailbox) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_EVERGREEN_ALERTS_MAIL")
    connect(monkeypatch, "EVERGREEN_ALERTS", mail.connection)
    assert deliver(MESSAGE)
    assert len(mail.raw) == 1


@pytest.mark.parametrize(
    "hostile",
    [
        "fixed\r\nBcc: everybody@evil.test\r\n\r\n<script>alert(1)</script>",
        "fixed\nSubject: another\n\n.\r\nMAIL FROM:<x@evil.test>\r\n",
        "{{ conn.evergreen_alerts.host }} {% raw %} \u2028Bcc: x@evil.test",
        "=?utf-8?q?a=0d=0aBcc:_x@evil.test?=",
    ],
)
def test_no_text_adds_a_header_a_recipient_or_markup(chat: Webhook, mail: Mailbox, hostile: str) -> None:
    """Commit messages and model descriptions are written by whoever may push."""
    assert deliver(Notification(f"late: {hostile}", hostile, MESSAGE.link))
    (sent,) = mail.mails
    assert not {"Bcc", "Cc"} & set(sent.keys())
    assert [len(sent.get_all(name, [])) for name in ("Subject", "To")] == [1, 1]
    assert mail.recipients == ["team@example.test", "call@example.test"]
    html = sent.get_body().get_content()
    assert "<script>" not in html
    if "{{" in hostile:
        assert "{{ conn.evergreen_alerts.host }}" in html, "nobody may read a connection through a message"
        assert "the-secret-path" not in html
    assert len(chat.texts[0].splitlines()) == 3


def test_slack_gets_no_markup(monkeypatch: pytest.MonkeyPatch, chat: Webhook) -> None:
    slack = {"conn_type": "http", "host": chat.url, "extra": {"format": "slack"}}
    connect(monkeypatch, "EVERGREEN_ALERTS", slack)
    assert deliver(Notification("late.ci failed", "<!channel> & more", ""))
    assert chat.texts == ["late.ci failed\nCause: &lt;!channel&gt; &amp; more"]


@pytest.mark.parametrize(
    ("connection", "problem"),
    [
        ({"conn_type": "http", "host": "http://127.0.0.1:1/services/the-secret-path"}, "ConnectionError"),
        ({"conn_type": "http", "host": "no-url/services/the-secret-path"}, "is its host a URL"),
        ({"conn_type": "smtp", "host": "127.0.0.1", "port": 1}, "its extra lacks to and from_email"),
        (
            {
                "conn_type": "smtp", "host": "127.0.0.1", "port": 1,
                "extra": {"to": "a@example.test", "from_email": "b@example.test", "disable_ssl": True},
            },
            "ConnectionRefusedError",
        ),
    ],
)  # fmt: skip
def test_what_can_not_be_delivered_is_logged_and_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, connection: dict[str, Any], problem: str
) -> None:
    connect(monkeypatch, "EVERGREEN_ALERTS", connection)
    assert not deliver(MESSAGE)
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert problem in record.getMessage()
    assert "late.ci failed" in record.getMessage()
    assert "the-secret-path" not in caplog.text, "the URL of a webhook is its password"


def test_a_webhook_that_refuses_is_an_error_and_the_mail_still_arrives(
    chat: Webhook, mail: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    chat.status = 403
    assert deliver(MESSAGE)
    assert "responded with status 403" in caplog.text
    assert len(mail.raw) == 1


def test_without_a_connection_nothing_is_sent_and_nothing_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    assert not deliver(MESSAGE)
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []


# failed runs


def test_a_failed_run_is_reported_with_its_first_failed_task_and_that_tasks_error(chat: Webhook) -> None:
    context = context_of(tasks=("choose_release", "start_canary", "watch_canary", "settle"))
    context["ti"].states = {"settle": "failed", "watch_canary": "upstream_failed", "start_canary": "failed"}
    context["ti"].xcoms = {("start_canary", "error"): "no server.", ("choose_release", "version"): "7"}
    EvergreenNotifier()(context)
    assert chat.texts == [f"late.deployment failed, version 7\nCause: start_canary: no server.\nRun: {RUN_URL}"]


def test_a_failed_run_of_which_airflow_says_little_is_reported_too(chat: Webhook) -> None:
    context = context_of("late.ci")
    minimal = {name: context[name] for name in ("dag", "run_id")}
    EvergreenNotifier()({**minimal, "reason": "timed_out"})
    assert chat.texts == [f"late.ci failed\nCause: timed_out\nRun: {RUN_URL.replace('late.deployment', 'late.ci')}"]


def test_a_failed_retraining_names_its_incident(chat: Webhook) -> None:
    EvergreenNotifier()(context_of("late.training", dag_run=Run("incident__late-2013-05")))
    assert chat.texts[0].startswith("late.training failed, for incident late-2013-05\n")


def test_the_error_that_is_remembered_is_its_first_sentence() -> None:
    context = context_of("late.ci", exception=GateError("late: 2 tests failed. Correct them.\nTail of the log"))
    remember_error(context)
    assert context["ti"].xcoms == {("task", "error"): "late: 2 tests failed."}
    lost = context_of("late.ci")  # a worker was killed: there is no exception
    remember_error(lost)
    assert lost["ti"].xcoms == {}


def test_a_notifier_of_a_teams_own_dag_says_what_the_team_wrote(chat: Webhook) -> None:
    context = context_of("teams_dag", note="{{ not a template }}")
    EvergreenNotifier(subject="{{ dag.dag_id }} is done", text="{{ note }}")(context)
    assert chat.texts[0].startswith("teams_dag is done\nCause: {{ not a template }}\n")


def test_a_notifier_without_a_working_connection_does_not_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "EVERGREEN_ALERTS", {"conn_type": "http", "host": "http://127.0.0.1:1/"})
    EvergreenNotifier()(context_of())


# events


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
    return monkeypatch


def test_a_promotion_is_announced_with_the_canarys_verdict(chat: Webhook, staged: pytest.MonkeyPatch) -> None:
    release = Release("late", "production", 3, {"3": 100}, ("2",), "3")
    staged.setattr(deployment, "promote", lambda *_: release)
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
    staged.setattr(deployment, "roll_back", lambda *_: release)
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
