"""What a trigger has seen is stored only once Airflow surely has its events."""

# ruff: noqa: F811 - fixtures of another module

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evergreen.triggers import stored_later
from evergreen.triggers.data_partition import DataPartitionTrigger
from tests.integration.test_ci import home, repository  # noqa: F401
from tests.integration.test_triggers import KeptState, commit_trigger, lake, partitions  # noqa: F401
from tests.support.real_repository import RealRepository
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def test_a_commit_is_sent_again_if_the_trigger_ended_before_airflow_surely_had_it(
    repository: RealRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow discards the event of a trigger that it is about to end, and loses it with a triggerer that is killed."""

    async def first(state: Any, ended: Callable[[], object]) -> str:
        trigger = commit_trigger([])
        trigger.asset_state_store = state
        events = trigger.run()
        event = await asyncio.wait_for(anext(events), 30)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.to_thread(wait_for, ended, 30, "the end")
        waiting.cancel()
        return str(event.payload["commit"])

    async def ended_twice() -> None:
        state: Any = KeptState()
        assert [await first(state, lambda: True) for _ in range(2)] == [head] * 2
        assert not state.values
        monkeypatch.setattr(stored_later, "SECONDS", 0.1)
        await first(state, lambda: state.values)
        assert state.values == {"commit": head}

    head = repository.git("rev-parse", "HEAD")
    asyncio.run(ended_twice())


def test_partitions_are_sent_again_if_the_trigger_ended_before_airflow_surely_had_them(
    home: Path, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def windows(state: Any, ended: Callable[[], object]) -> list[str]:
        trigger = DataPartitionTrigger(model="tiny")
        trigger.asset_state_store = state
        events = trigger.run()
        seen = [(await asyncio.wait_for(anext(events), 10)).payload["window"] for _ in range(2)]
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.to_thread(wait_for, ended, 30, "the end")
        waiting.cancel()
        return seen

    async def ended_twice() -> None:
        state: Any = KeptState()
        await state.aset("windows", ["2013-01"])
        partitions(home, "2013-01", "2013-02", "2013-03")
        assert [await windows(state, lambda: True) for _ in range(2)] == [["2013-02", "2013-03"]] * 2
        assert state.values == {"windows": ["2013-01"]}
        monkeypatch.setattr(stored_later, "SECONDS", 0.1)
        await windows(state, lambda: len(state.values["windows"]) > 1)
        assert state.values == {"windows": ["2013-01", "2013-02", "2013-03"]}

    asyncio.run(ended_twice())


def test_what_could_not_be_stored_is_stored_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while the api-server restarts; of values that wait, only the last counts."""
    monkeypatch.setattr(stored_later, "SECONDS", 0.05)
    tries: list[str] = []

    async def store(value: str) -> None:
        tries.append(value)
        if len(tries) < 3:
            raise ConnectionError("the api-server is away")

    async def stored() -> None:
        with stored_later.stored_later(store) as store_later:
            store_later("first")
            store_later("last")
            await asyncio.to_thread(wait_for, lambda: len(tries) == 3, 30, "the third try")

    asyncio.run(stored())
    assert tries == ["last"] * 3
