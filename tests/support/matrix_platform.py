"""A running platform with models of the matrix, each with version 1 in production.

So that this takes a minute, version 1 is made by the stages that the Dags call, without the Dags.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import requests
import yaml

from include.core.build import Build
from include.core.run_params import TrainingParams
from include.core.spec import ModelSpec
from include.embedded.outside_servers import make_schemas
from include.settings import Settings
from include.stages import ci, deployment, training
from include.stages.installation import open_installation
from tests.support.matrix_models import BEFORE, FILES, Cell
from tests.support.real_repository import RealRepository
from tests.support.running_platform import Platform, new_platform
from tests.support.waiting import wait_for


@contextmanager
def matrix_platform(
    root: Path,
    cells: Sequence[Cell],
    environments: Path,
    windows: Sequence[str] = (BEFORE,),
    prometheus: str = "",
    settings: Mapping[str, str] | None = None,
) -> Iterator[Platform]:
    """The platform below the folder ``root``, with the data of these windows; this process sees it as its own.

    ``environments`` is a folder of virtual environments that outlives the platform; ``settings`` are more variables.
    """
    running = new_platform(root / "h", prometheus)
    running.env |= {
        "EVERGREEN_MODELS": str(root / "models"),
        "EVERGREEN_DATA_POLL_SECONDS": "2",
        "AIRFLOW_CONN_EVERGREEN_LAKE": json.dumps({"conn_type": "fs"}),
        "AIRFLOW_CONN_WAREHOUSE": json.dumps({"conn_type": "sqlite", "host": str(root / "warehouse.db")}),
        **(settings or {}),
    }
    for cell in cells:
        write_spec(root, cell, changed=False)
        for window in windows:
            cell.land(root, window)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for name, value in running.env.items():
            if name.startswith(("EVERGREEN_", "AIRFLOW_CONN_")):
                patch.setenv(name, value)
        running.settings = Settings.from_environment()
        make_schemas(running.settings)
        running.settings.home.mkdir(mode=0o700)
        (running.settings.home / "environments").symlink_to(environments)
        stack.callback(running.down)
        open_installation().store.create_tables()
        with ThreadPoolExecutor(3) as pool:
            started = pool.submit(running.up)
            # Before it writes this file, 'up' ends all processes of the installation, so jobs too.
            wait_for(
                lambda: started.done() or (running.settings.run / "supervisord.conf").exists(), 120, "'up' to begin"
            )
            trained = list(pool.map(partial(train_first, root), cells, prepare_builds(root, cells)))
            started.result()
            list(pool.map(partial(release_first, root), trained))
        yield running


def write_spec(root: Path, cell: Cell, changed: bool) -> None:
    """Write the model's model.yaml, as it is before or after the change."""
    path = root / "models" / cell.name / "model.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(cell.spec(root, changed), sort_keys=False), encoding="utf-8")


def prepare_builds(root: Path, cells: Sequence[Cell]) -> list[Build]:
    """What ci does, without its checks; the repository that model.yaml names does not exist, so no ci Dag starts."""
    builds = []
    (root / "git").mkdir()
    repository, here = RealRepository(root / "git"), open_installation()
    commit = repository.commit(FILES)
    for cell in cells:
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
    here, spec = open_installation(), ModelSpec.model_validate(cell.spec(root, False))
    verdict = training.compare(spec, made)
    assert verdict.passed, verdict
    version = training.register(here, spec, made, snapshot, verdict, run_id="first", reason="first", parameters={})
    deployment.start_canary(here, spec, version, "first")
    deployment.promote(here, spec, version, "first")


def send(
    platform: Platform,
    cell: Cell,
    rows: pd.DataFrame,
    identity: str,
    changed: bool,
    session: requests.Session | None = None,
) -> requests.Response:
    """One request through the gateway, for the model before or after its change."""
    url = f"{platform.gateway_url}/v2/models/{cell.name}/infer"
    headers = {"Authorization": f"Bearer {platform.settings.secret('prediction_token')}"}
    body = cell.request(rows, identity, changed)
    return (session or requests).post(url, json=body, headers=headers, timeout=30)
