"""Servers that stop responding: when they are restarted, and that no model holds up another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.adapters.engines.contract import RunningServer
from include.core.release.release import Release
from include.settings import Settings
from include.stages.installation import open_installation
from include.stages.upkeep import SILENT_ROUNDS, STARTING_ROUNDS, Upkeep
from tests.support.specs import model_yaml

MODELS = ("fares", "churn")


class Servers:
    """An engine whose servers are in the given state."""

    def __init__(self) -> None:
        self.state = dict.fromkeys(MODELS, "ready")
        self.restarted: list[str] = []

    def servers(self, model: str, environment: str) -> dict[str, RunningServer]:
        return {"1": RunningServer("1", "127.0.0.1:1", self.state[model])}

    def restore_files(self, spec: Any, environment: str) -> None:
        """All are there."""

    def restart(self, model: str, environment: str, version: str) -> None:
        self.restarted.append(model)


@pytest.fixture
def upkeep(tmp_path: Path) -> tuple[Upkeep, Any]:
    """Two models in the test environment, which has no routes."""
    here = open_installation(Settings(home=tmp_path / "home", models=tmp_path / "models"))
    (tmp_path / "home").mkdir()
    for model in MODELS:
        (tmp_path / "models" / model).mkdir(parents=True)
        (tmp_path / "models" / model / "model.yaml").write_text(model_yaml(name=model), encoding="utf-8")
        before = Release(model, "test")
        here.store.swap_release(before, replace(before, revision=1, weights={"1": 100}))
    engine: Any = Servers()
    return Upkeep(replace(here, engine=engine)), engine


def test_nothing_is_done_while_all_is_well(upkeep: tuple[Upkeep, Any]) -> None:
    keeper, engine = upkeep
    assert [keeper.round() for _ in range(STARTING_ROUNDS + 1)] == [[]] * (STARTING_ROUNDS + 1)
    assert engine.restarted == []


def test_a_server_that_was_ready_and_falls_silent_is_restarted_and_no_other(upkeep: tuple[Upkeep, Any]) -> None:
    keeper, engine = upkeep
    keeper.round()
    engine.state["fares"] = "starting"
    for _ in range(SILENT_ROUNDS - 1):
        keeper.round()
    assert engine.restarted == []
    keeper.round()
    assert engine.restarted == ["fares"]
    for _ in range(SILENT_ROUNDS):
        keeper.round()
    assert engine.restarted == ["fares"], "it gets the time that a start needs"


def test_a_moment_of_silence_is_forgiven(upkeep: tuple[Upkeep, Any]) -> None:
    keeper, engine = upkeep
    for _ in range(3 * SILENT_ROUNDS):
        engine.state["fares"] = "starting"
        for _ in range(SILENT_ROUNDS - 1):
            keeper.round()
        engine.state["fares"] = "ready"
        keeper.round()
    assert engine.restarted == []


def test_a_server_that_never_gets_ready_is_restarted_later(upkeep: tuple[Upkeep, Any]) -> None:
    keeper, engine = upkeep
    engine.state["churn"] = "starting"
    for _ in range(STARTING_ROUNDS - 1):
        keeper.round()
    assert engine.restarted == []
    keeper.round()
    assert engine.restarted == ["churn"]


def test_what_is_broken_is_left_to_the_reconciler(upkeep: tuple[Upkeep, Any]) -> None:
    keeper, engine = upkeep
    engine.state["churn"] = "broken"
    assert keeper.round() == ["churn (test)"]


@pytest.mark.parametrize("text", [None, "", "name: [", yaml.safe_dump({"name": "fares"})])
def test_a_model_whose_specification_can_not_be_read_holds_up_no_other(
    upkeep: tuple[Upkeep, Any], text: str | None
) -> None:
    keeper, engine = upkeep
    path = keeper.installation.settings.models / "fares" / "model.yaml"
    path.unlink() if text is None else path.write_text(text, encoding="utf-8")
    engine.state = dict.fromkeys(MODELS, "broken")
    assert keeper.round() == ["churn (test)"]
