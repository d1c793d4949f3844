"""The canary's log: what is new, and not each check."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from evergreen.model_task import ModelTask
from evergreen.sensors import canary
from evergreen.sensors.canary import CanarySensor
from include.core.errors import GateError
from include.core.verdict import Verdict
from include.stages import deployment
from tests.support.specs import model_spec

WAITING = Verdict("hold", "waiting for 100 requests", {"requests": 1})


def poke_each(monkeypatch: pytest.MonkeyPatch, verdicts: list[Verdict], seconds_apart: float) -> None:
    """One sensor that gets these verdicts, one after another."""
    remaining = iter(verdicts)
    clock = iter(number * seconds_apart for number in range(1000))
    monkeypatch.setattr(ModelTask, "spec", property(lambda _: model_spec()))
    monkeypatch.setattr(ModelTask, "installation", property(lambda _: None))
    monkeypatch.setattr(deployment, "watch_canary", lambda *_: (next(remaining), False))
    monkeypatch.setattr(canary, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    sensor = CanarySensor(task_id="watch", model="late")
    context: Any = {"dag_run": type("Run", (), {"run_id": "run"})}
    for _ in verdicts:
        sensor.poke(context)


@pytest.fixture
def lines() -> Any:
    """What the sensor logs; Airflow's logger of a task is not one of Python's."""
    with patch.object(CanarySensor, "log") as log:
        yield lambda: [str(call.args[1]) for call in log.info.call_args_list]


def test_a_verdict_that_does_not_change_is_logged_once_a_minute(monkeypatch: pytest.MonkeyPatch, lines: Any) -> None:
    verdicts = [Verdict("hold", WAITING.reason, {"requests": number}) for number in range(121)]
    poke_each(monkeypatch, verdicts, seconds_apart=1)
    assert lines() == [f"hold: {WAITING.reason} (requests={number})" for number in (0, 60, 120)]


def test_a_count_within_the_reason_is_not_a_new_reason(monkeypatch: pytest.MonkeyPatch, lines: Any) -> None:
    verdicts = [Verdict("hold", f"{number} requests reached the canary, of about 20") for number in (7, 8, 10)]
    poke_each(monkeypatch, verdicts, seconds_apart=1)
    assert len(lines()) == 1


def test_a_new_reason_or_answer_is_logged_at_once(monkeypatch: pytest.MonkeyPatch, lines: Any) -> None:
    other = Verdict("hold", "9 requests reached the canary")
    poke_each(monkeypatch, [WAITING, WAITING, other, WAITING, Verdict("pass", WAITING.reason)], seconds_apart=1)
    assert [line.partition(" (")[0] for line in lines()] == [
        *(f"hold: {WAITING.reason}", "hold: 9 requests reached the canary"),
        *(f"hold: {WAITING.reason}", f"pass: {WAITING.reason}"),
    ]


def test_a_failed_verdict_is_logged_and_fails_the_task(monkeypatch: pytest.MonkeyPatch, lines: Any) -> None:
    with pytest.raises(GateError, match="9 of 20 requests"):
        poke_each(monkeypatch, [WAITING, Verdict("fail", "9 of 20 requests failed")], seconds_apart=1)
    assert lines()[-1] == "fail: 9 of 20 requests failed"
