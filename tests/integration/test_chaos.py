"""A few of the faults of ``make chaos``: each heals by itself under traffic, and nothing is lost or trained twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.adapters.store import Store
from tests.chaos.faults import FAULTS, SHORT, Fault
from tests.chaos.place import MODELS, Place, chaos_place
from tests.chaos.runner import DAGS, play
from tests.support.matrix_platform import send
from tests.support.running_platform import short_folder

# Its platform runs Prometheus, so it is played where that is installed: in the second half of .ci/run.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900), pytest.mark.needs("prometheus")]


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with short_folder() as root, chaos_place(root, Path(request.config.cache.mkdir("environments"))) as made:
        yield made


def test_there_are_enough_faults_at_every_stage() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 60
    assert {fault.stage for fault in FAULTS} == {"serving", *DAGS}
    assert len(SHORT) >= 15


@pytest.mark.parametrize("fault", SHORT, ids=lambda fault: fault.name)
def test_a_fault_heals_by_itself(place: Place, fault: Fault) -> None:
    (outcome,) = play(place, [fault])
    assert outcome.passed, outcome


def test_everything_is_lost_and_restored_from_a_backup(place: Place, tmp_path: Path) -> None:
    """Last in this file. Made while the platform runs; afterwards both models serve, and a training ends well."""
    file, platform = tmp_path / "backup.tar.gz", place.platform
    done = platform.command("backup", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    refused = platform.command("restore", str(file))
    assert (refused.returncode, "make down" in refused.stderr) == (1, True), "it would fight with what runs"
    before = {cell.name: place.installation.store.release(cell.name, "production") for cell in MODELS}
    platform.down()
    shutil.rmtree(place.home)
    done = platform.command("restore", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    platform.up()
    place.settle()
    for cell in MODELS:
        row = place.frames[cell.name].iloc[:1]
        assert send(platform, cell, row, f"restored-{cell.name}", changed=False).status_code == 200
        assert Store(place.platform.settings.store).release(cell.name, "production") == before[cell.name]
    platform._token = ""
    run_id = platform.trigger(f"{MODELS[1].name}.training")
    assert platform.wait(f"{MODELS[1].name}.training", run_id, 300) == "success"
