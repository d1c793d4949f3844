"""``make attack``: nothing that a hostile commit tries gets out of its job, with either engine, as root or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from include.adapters.engines.process.confinement import Completed
from include.settings import Settings
from tests.attacks.programs import BOUNDS, TOGETHER
from tests.attacks.runner import confined, contained, play, target
from tests.support.running_platform import short_folder

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

REACHED = {
    "read a secret",
    "list the platform's home",
    "read another process's environment",
    "find the platform's keys in any process",
    "connect to a local service",
    "connect to a socket file",
    "be reached from outside",
    "gain rights from a program",
}
"""Harmless ones, which reach their target where nothing confines them: the others' targets are the machine's own."""


def test_there_are_enough_of_them() -> None:
    assert len({*TOGETHER, *BOUNDS}) == len(TOGETHER) + len(BOUNDS) >= 90


@pytest.mark.needs("landlock_signals")
@pytest.mark.parametrize(
    "_who", ["as this user", pytest.param("as root", marks=pytest.mark.needs("root"))], ids=lambda who: who
)
def test_no_attack_gets_out_of_a_confined_process(_who: str) -> None:
    with short_folder() as place, target(place / "home") as aimed:
        outcomes = play(aimed, place / "jobs", confined(aimed, place))
    assert {name: reached for name, reached in outcomes.items() if reached} == {}


@pytest.mark.needs("docker")
@pytest.mark.parametrize("_engine", ["docker"])
def test_no_attack_gets_out_of_a_container(_engine: str) -> None:
    from include.adapters.engines.docker.client import DockerHost

    with short_folder() as place, target(place / "home") as aimed:
        host = DockerHost(Settings(home=place / "docker"))
        outcomes = play(aimed, place / "docker" / "jobs", contained(host))
    assert {name: reached for name, reached in outcomes.items() if reached} == {}


def test_where_nothing_confines_them_the_attacks_reach_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above would pass whatever happens."""

    def unconfined(work: Path, arguments: list[str], log: Path, seconds: float) -> Completed:
        with log.open("wb") as output:
            command = [sys.executable, *arguments]
            done = subprocess.run(command, cwd=work, stdout=output, stderr=output, timeout=seconds, check=False)
        return Completed(done.returncode, log.read_text(encoding="utf-8"), 0.0, None)

    chosen = {name: code for name, code in TOGETHER.items() if name in REACHED | {"overwrite a file of the platform"}}
    monkeypatch.setattr("tests.attacks.runner.TOGETHER", chosen)
    monkeypatch.setattr("tests.attacks.runner.BOUNDS", {})
    monkeypatch.setenv("OF_THE_PLATFORM", "EVERGREEN")
    with short_folder() as place, target(place / "home") as aimed:
        outcomes = play(aimed, place / "jobs", unconfined)
    assert {name for name in REACHED if not outcomes[name]} <= {"find the platform's keys in any process"}
    assert "the foreign file changed" in outcomes["leave the platform unchanged"]
