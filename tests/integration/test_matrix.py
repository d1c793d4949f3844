"""Models of every pair of task, code, data source and change of the specification go through the whole loop.

All of them at once on one running platform: version 1 serves, their specification changes, new data starts a training,
version 2 is released through a canary under traffic, and the window that both served is monitored. So that this takes
minutes, version 1 is made by the stages that the Dags call, without the Dags.
"""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest
import requests
import yaml

from include.adapters.engines.choice import open_engine
from include.adapters.store import Store
from include.core.build import Build
from include.core.run_params import TrainingParams
from include.core.spec import ModelSpec
from include.stages import ci, deployment, training
from include.stages.installation import open_installation
from tests.integration.matrix_models import AFTER, BEFORE, CELLS, FILES, Cell, missing_pairs
from tests.support.real_repository import RealRepository
from tests.support.running_platform import Platform, new_platform
from tests.support.traffic import Traffic
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]


def test_every_pair_is_among_them() -> None:
    assert list(missing_pairs()) == []


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="eg-"))  # short: sockets lie below it
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def platform(root: Path, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """A platform with all of them, each with a build, the data of one window, and version 1 in production."""
    running = new_platform(root / "h")
    running.env |= {
        "EVERGREEN_MODELS": str(root / "models"),
        "EVERGREEN_DATA_POLL_SECONDS": "2",
        "AIRFLOW_CONN_EVERGREEN_LAKE": json.dumps({"conn_type": "fs"}),
        "AIRFLOW_CONN_WAREHOUSE": json.dumps({"conn_type": "sqlite", "host": str(root / "warehouse.db")}),
    }
    for cell in CELLS:
        write_spec(root, cell, changed=False)
        cell.land(root, BEFORE)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for name, value in running.env.items():
            if name.startswith(("EVERGREEN_", "AIRFLOW_CONN_")):
                patch.setenv(name, value)
        running.settings.home.mkdir(mode=0o700)
        (running.settings.home / "environments").symlink_to(request.config.cache.mkdir("environments"))
        stack.callback(running.down)
        open_installation().store.create_tables()
        with ThreadPoolExecutor(3) as pool:
            started = pool.submit(running.up)
            trained = list(pool.map(partial(train_first, root), CELLS, prepare_builds(root)))
            started.result()
            list(pool.map(partial(release_first, root), trained))
        yield running


def write_spec(root: Path, cell: Cell, changed: bool) -> None:
    path = root / "models" / cell.name / "model.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(cell.spec(root, changed), sort_keys=False), encoding="utf-8")


def prepare_builds(root: Path) -> list[Build]:
    """What ci does, without its checks; the repository that model.yaml names does not exist, so no ci Dag starts."""
    builds = []
    (root / "git").mkdir()
    repository, here = RealRepository(root / "git"), open_installation()
    commit = repository.commit(FILES)
    for cell in CELLS:
        spec = ModelSpec.model_validate(cell.spec(root, False) | {"repository": {"url": str(repository.bare)}})
        assert ci.check_out_commit(here, spec) == commit
        prepared = ci.build_environment(here, spec, commit)
        builds.append(Build(cell.name, prepared.build_id, commit, prepared.environment, "passed"))
        here.store.record_build(builds[-1])
    return builds


def train_first(root: Path, cell: Cell, build: Build) -> tuple[Cell, str, training.Candidate]:
    """Train version 1; returns it with its snapshot."""
    here, spec = open_installation(), ModelSpec.model_validate(cell.spec(root, False))
    snapshot = training.freeze_data(here, spec, TrainingParams(), datetime.now(UTC).replace(tzinfo=None))
    return cell, snapshot.hash, training.train_candidate(here, spec, build.build_id, snapshot.hash, "first", {})


def release_first(root: Path, trained: tuple[Cell, str, training.Candidate]) -> None:
    """Put version 1 into production; there is nothing yet that a canary could be compared with."""
    cell, snapshot, made = trained
    settings, spec = open_installation().settings, ModelSpec.model_validate(cell.spec(root, False))
    # supervisord's proxy is not for several threads.
    here = replace(open_installation(), engine=open_engine(settings, open_installation().registry))
    verdict = training.compare(spec, made)
    assert verdict.passed, verdict
    version = training.register(here, spec, made, snapshot, verdict, run_id="first", reason="first", parameters={})
    deployment.start_canary(here, spec, version, "first")
    deployment.promote(here, spec, version, "first")


class Loop:
    """The platform as all its users see it."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self.store = platform, Store(f"sqlite:///{platform.settings.home / 'evergreen.db'}")
        self.headers = {"Authorization": f"Bearer {platform.settings.secret('prediction_token')}"}

    def send(self, cell: Cell, rows: pd.DataFrame, identity: str, changed: bool) -> requests.Response:
        """One request through the gateway."""
        url = f"{self.platform.gateway_url}/v2/models/{cell.name}/infer"
        return requests.post(url, json=cell.request(rows, identity, changed), headers=self.headers, timeout=30)

    def ask(self, cell: Cell, rows: pd.DataFrame, changed: bool) -> None:
        """One request that is answered with predictions."""
        response = self.send(cell, rows, f"{cell.name}-{changed}", changed)
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

    def is_watched(self, cell: Cell) -> bool:
        """Whether the triggerer has looked at the model's data, so that it can tell what is new."""
        assets = self.platform.ask("GET", f"assets?uri_pattern=evergreen://{cell.name}/data")["assets"]
        return bool(assets and self.platform.ask("GET", f"assets/{assets[0]['id']}/state-store")["asset_state_store"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        return list(self.platform.ask("GET", f"dags/{dag_id}/dagRuns?order_by=id")["dag_runs"])


def test_every_model_goes_around_the_loop(platform: Platform, root: Path) -> None:
    loop = Loop(platform)
    wait_for(lambda: len(platform.ask("GET", "dags?limit=100")["dags"]) == 5 * len(CELLS), 120, "the Dags")
    assert platform.ask("GET", "importErrors")["import_errors"] == []
    for cell in CELLS:  # nothing degrades here
        platform.ask("PATCH", f"dags/{cell.name}.retraining", json={"is_paused": True})
    wait_for(lambda: all(map(loop.is_watched, CELLS)), 120, "the first look at all data")
    frames = {cell.name: cell.land(root, AFTER) for cell in CELLS}
    for cell in CELLS:
        loop.ask(cell, frames[cell.name].iloc[:60], changed=False)
        write_spec(root, cell, changed=True)
    turns = itertools.count()

    def send(identity: str) -> requests.Response:
        """A client of one model after the other."""
        turn = next(turns)
        cell, first = CELLS[turn % len(CELLS)], 60 + turn % 120
        return loop.send(cell, frames[cell.name].iloc[first : first + 2], identity, changed=False)

    with Traffic(send, pause=0.15) as traffic:
        wait_for(lambda: traffic.failures or loop.unfinished("2") == [], 900, "version 2 of all")
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
