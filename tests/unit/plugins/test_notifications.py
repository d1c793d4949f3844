"""Notifications, received by a real webhook and a real mail server."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from evergreen.delivery import deliver
from evergreen.notifications import EvergreenNotifier, remember_error
from include.core.errors import GateError
from include.core.notification import Notification
from tests.support.notified_runs import MESSAGE, RUN_URL, Run, connect, context_of
from tests.support.receivers import Mailbox, Webhook


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
