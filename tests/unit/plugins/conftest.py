"""Receivers of notifications."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.notified_runs import BASE, connect
from tests.support.receivers import Mailbox, Webhook, mail_server, webhook


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
