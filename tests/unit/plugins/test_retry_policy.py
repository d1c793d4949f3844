"""Retries: never for a mistake, twice for an error, and for more than five minutes only while a server is away."""

from __future__ import annotations

import builtins
from datetime import timedelta

import httpx
import pytest
import requests
import sqlalchemy as sa
from airflow.sdk.definitions.retry_policy import RetryAction

from evergreen.retry_policy import RETRIES, RETRY_DELAYS, RETRY_POLICY
from include.core import errors

MAX = len(RETRY_DELAYS)
AWAY = [
    ConnectionRefusedError("refused"),
    builtins.TimeoutError(),
    httpx.ConnectError("refused"),
    requests.exceptions.ConnectTimeout(),
    sa.exc.OperationalError("SELECT 1", {}, Exception("closed")),
    errors.UnreachableError("the database does not respond"),
]


def caused_by(error: Exception) -> Exception:
    try:
        raise errors.PlatformError("the registry can't be read") from error
    except errors.PlatformError as raised:
        return raised


@pytest.mark.parametrize("error", [*AWAY, *map(caused_by, AWAY)], ids=lambda error: repr(error)[:40])
def test_a_server_that_is_away_for_five_minutes_is_outlasted(error: Exception) -> None:
    decisions = [RETRY_POLICY.evaluate(error, number, MAX) for number in range(1, MAX + 1)]
    assert {decision.action for decision in decisions} == {RetryAction.RETRY}
    delays = [decision.retry_delay for decision in decisions if decision.retry_delay]
    assert delays == sorted(delays) and sum(delays, timedelta()) > timedelta(minutes=5)
    assert delays[0] <= timedelta(seconds=5), "most outages are short"


@pytest.mark.parametrize("error", [ValueError("x"), errors.PlatformError("killed from outside"), OSError("disk")])
def test_any_other_error_is_retried_twice(error: Exception) -> None:
    actions = [RETRY_POLICY.evaluate(error, number, MAX).action for number in range(1, MAX + 1)]
    assert RetryAction.FAIL not in actions[:RETRIES]
    assert set(actions[RETRIES:]) == {RetryAction.FAIL}


def test_tries_count_again_after_a_person_has_cleared_the_task() -> None:
    """Airflow goes on counting, and raises the limit: the fourth try is the first of three more."""
    actions = [RETRY_POLICY.evaluate(ValueError("x"), number, 3 + MAX).action for number in (4, 5, 6)]
    assert actions == [RetryAction.DEFAULT, RetryAction.DEFAULT, RetryAction.FAIL]


@pytest.mark.parametrize("error", [errors.RunRefusedError, errors.NoRowsError, errors.GateError, errors.TrainingError])
def test_a_mistake_is_not_retried_even_if_a_server_was_away(error: type[Exception]) -> None:
    assert RETRY_POLICY.evaluate(error("x"), 1, MAX).action is RetryAction.FAIL
