"""Models of every pair of task, code, data source and change of the specification go through the whole loop.

All of them at once on one running platform: version 1 serves, their specification changes, new data starts a training,
version 2 is released through a canary under traffic, and the window that both served is monitored. So that this takes
minutes, version 1 is made by the stages that the Dags call, without the Dags.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest
import requests

from include.adapters.store import Store
from tests.support.matrix_models import AFTER, CELLS, Cell, missing_pairs
from tests.support.matrix_platform import matrix_platform, send, write_spec
from tests.support.running_platform import Platform, short_folder
from tests.support.traffic import Traffic
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]


def test_every_pair_is_among_them() -> None:
    assert list(missing_pairs()) == []


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def platform(root: Path, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """A platform with all of them, each with a build, the data of one window, and version 1 in production."""
    with matrix_platform(root, CELLS, Path(request.config.cache.mkdir("environments"))) as running:
        yield running


class Loop:
    """The platform as all its users see it."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self.store = platform, Store(f"sqlite:///{platform.settings.home / 'evergreen.db'}")

    def ask(self, cell: Cell, rows: pd.DataFrame, changed: bool) -> None:
        """One request that is answered with predictions."""
        response = send(self.platform, cell, rows, f"{cell.name}-{changed}", changed)
        assert response.status_code == 200, f"{cell.name}: {response.text}"

    def unfinished(self, version: str) -> list[Cell]:
        """The models that do not serve this version alone yet; fails for a run that failed."""
        found = []
        for cell in CELLS:
            release = self.store.release(cell.name, "production")
            if release.champion != version or release.rollout:
                found.append(cell)
        failed = self.platform.ask("GET", "dags/~/dagRuns?state=failed")["dag_runs"]
        assert failed == [], [f"{run['dag_run_id']} of {run['dag_id']}" for run in failed]
        return found

    def describe_unfinished(self, version: str) -> str:
        """Where each model is that does not serve this version alone: its release, its runs and its gates."""
        lines = []
        for cell in self.unfinished(version):
            lines.append(f"{cell.name}: {self.store.release(cell.name, 'production')}")
            for run in self.platform.ask("GET", f"dags/~/dagRuns?dag_id_pattern={cell.name}.&limit=100")["dag_runs"]:
                lines.append(f"  {run['dag_id']} {run['dag_run_id']}: {run['state']}, {run['note']}")
                lines += [f"    {check}" for check in self.store.rollout_checks(cell.name, run["dag_run_id"])]
        return f"version {version} of all\n" + "\n".join(lines)

    def is_watched(self, cell: Cell) -> bool:
        """Whether the triggerer has looked at the model's data, so that it can tell what is new."""
        assets = self.platform.ask("GET", f"assets?uri_pattern=evergreen://{cell.name}/data")["assets"]
        return bool(assets and self.platform.ask("GET", f"assets/{assets[0]['id']}/state-store")["asset_state_store"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        return list(self.platform.ask("GET", f"dags/{dag_id}/dagRuns?order_by=id")["dag_runs"])


def test_every_model_goes_around_the_loop(platform: Platform, root: Path) -> None:
    loop = Loop(platform)
    wait_for(lambda: len(platform.ask("GET", "dags?limit=100")["dags"]) == 5 * len(CELLS) + 1, 120, "the Dags")
    assert platform.ask("GET", "importErrors")["import_errors"] == []
    for cell in CELLS:  # nothing degrades here
        platform.ask("PATCH", f"dags/{cell.name}.retraining", json={"is_paused": True})
    wait_for(lambda: all(map(loop.is_watched, CELLS)), 120, "the first look at all data")
    frames = {cell.name: cell.land(root, AFTER) for cell in CELLS}
    for cell in CELLS:
        loop.ask(cell, frames[cell.name].iloc[:60], changed=False)
        write_spec(root, cell, changed=True)
    turns = itertools.count()

    def send_next(identity: str) -> requests.Response:
        """A client of one model after the other."""
        turn = next(turns)
        cell, first = CELLS[turn % len(CELLS)], 60 + turn % 120
        return send(platform, cell, frames[cell.name].iloc[first : first + 2], identity, changed=False)

    with Traffic(send_next, pause=0.1, clients=2) as traffic:
        wait_for(lambda: traffic.failures or loop.unfinished("2") == [], 900, lambda: loop.describe_unfinished("2"))
    assert traffic.failures == []
    for cell in CELLS:
        loop.ask(cell, frames[cell.name].iloc[200:260], changed=True)

    monitored = {cell.name: platform.trigger(f"{cell.name}.monitoring", {"window": AFTER}) for cell in CELLS}
    for cell in CELLS:
        assert platform.wait(f"{cell.name}.monitoring", monitored[cell.name], 120) == "success"
        (health,) = loop.store.health(cell.name)
        assert (health.window, set(health.versions), health.truth_share) == (AFTER, {"1", "2"}, 1.0)
        assert health.live_figure(health.metric) is not None
        assert set(health.by_version) == {"1", "2"}
        (by_data,) = loop.runs(f"{cell.name}.training")
        assert by_data["run_type"] == "asset_triggered"
        path = f"dags/{cell.name}.training/dagRuns/{quote(by_data['dag_run_id'], safe='')}"
        (event,) = platform.ask("GET", f"{path}/upstreamAssetEvents")["asset_events"]
        assert event["extra"]["payload"] == {"window": AFTER}
