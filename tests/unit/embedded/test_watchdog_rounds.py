"""When the watchdog reconciles: at once what is new, less and less often what could not be put right."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from include.embedded import watchdog_rounds
from include.embedded.watchdog_rounds import HEARTBEAT, Servers
from include.settings import Settings

COUNT = "import pathlib, sys; file = pathlib.Path(sys.argv[1]); file.open('a').write('x'); sys.exit(int(sys.argv[2]))"


class Differences:
    """What differs from the desired state, as :class:`include.stages.upkeep.Upkeep` finds it."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.rounds = 0

    def round(self) -> list[str]:
        self.rounds += 1
        return self.found


class Clock:
    """The watchdog's time, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(watchdog_rounds, "time", made)
    return made


def servers(folder: Path, code: int) -> tuple[Servers, Any, Path]:
    """Servers whose reconciler is a process that ends with this exit code; each start adds a letter to the file."""
    (folder / "run").mkdir(exist_ok=True)
    different: Any = Differences()
    counted = folder / "attempts"
    counted.write_text("", encoding="utf-8")
    command = [sys.executable, "-c", COUNT, str(counted), str(code)]
    return Servers(Settings(home=folder), command, different), different, counted


def attempts(counted: Path) -> int:
    return len(counted.read_text(encoding="utf-8"))


def test_nothing_is_started_while_all_is_as_desired(tmp_path: Path, clock: Clock) -> None:
    keeper, different, counted = servers(tmp_path, 0)
    for _ in range(10):
        keeper.round()
    assert (different.rounds, attempts(counted)) == (10, 0)
    assert (tmp_path / "run" / HEARTBEAT).exists()


def test_what_differs_is_reconciled_at_once_and_every_time(tmp_path: Path, clock: Clock) -> None:
    keeper, different, counted = servers(tmp_path, 0)
    different.found = ["fares (production)"]
    for _ in range(3):
        keeper.round()
    assert attempts(counted) == 3


def test_what_can_not_be_put_right_is_tried_less_and_less_often(tmp_path: Path, clock: Clock) -> None:
    keeper, different, counted = servers(tmp_path, 1)
    different.found = ["fares (production)"]
    tried = []
    for second in range(0, 3600, 5):
        clock.now = 1000.0 + second
        before = attempts(counted)
        keeper.round()
        if attempts(counted) > before:
            tried.append(second)
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses[:5] == [20, 40, 80, 160, 320]
    assert set(pauses[5:]) == {600}
    assert different.rounds == 720, "routes are looked at in every round"


def test_another_model_does_not_wait_for_one_that_can_not_be_put_right(tmp_path: Path, clock: Clock) -> None:
    keeper, different, counted = servers(tmp_path, 1)
    different.found = ["fares (production)"]
    keeper.round()
    keeper.round()
    assert attempts(counted) == 1
    different.found = ["fares (production)", "churn (production)"]
    keeper.round()
    assert attempts(counted) == 2
