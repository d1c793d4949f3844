"""A running platform for the tests that need one, started once a session."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from include.adapters.files import write_private
from include.adapters.supervisord import open_supervisor
from include.settings import Settings
from tests.conftest import PROJECT
from tests.support.engines import ENGINES
from tests.support.receivers import Mailbox, Webhook, mail_server, webhook
from tests.support.running_platform import Platform, new_platform
from tests.support.specs import columns, model_yaml

if TYPE_CHECKING:
    from include.core.spec import ModelSpec
    from tests.integration.monitored_model import MonitoredModel
    from tests.support.serving import Serving

RIDES: dict[str, Any] = {
    "name": "rides",
    "description": "How long rides take.",
    "repository": {"url": "repositories/rides.git"},
    "task": "regression",
    "target": "minutes",
    "truth": {"source": {"path": "rides/truth/{window}.parquet"}, "key": "id", "column": "minutes"},
    "data": {"source": {"path": "rides/data/{window}.parquet"}, "key": "id", "event_time": "at"},
    "metrics": {"primary": "mae", "also": ["r2"]},
}
"""What tells the model ``rides`` from ``late``."""
ASKING: dict[str, Any] = {
    "name": "cabs",
    "description": "Where cabs are late.",
    "repository": {"url": "repositories/shared.git"},
    "monitoring": {"schedule": None},
    "deployment": {"approval": {"required": True}},
    "degradation": {"mode": "ask"},
}
"""The model ``cabs`` of the shared platform, which asks people."""
ON_NEW_DATA = ("fares", "tides")
"""Models of the shared platform that train on new data; their code is in a repository that is not there."""


def watching_model(name: str) -> str:
    """The model.yaml of a model that trains on new data."""
    return model_yaml(
        name=name,
        repository={"url": "repositories/shared.git"},
        task="regression",
        target="y",
        features=columns(x="number"),
        data={"source": {"path": f"{name}/{{window}}.parquet"}, "rows_at_least": 10},
        training={"on_new_data": True},
        monitoring={"schedule": None},
        degradation={"drop": 1.0},
    )


@pytest.fixture(scope="session")
def chat(until_group_ends: ExitStack) -> Webhook:
    """Where the shared platform posts its notifications."""
    return until_group_ends.enter_context(webhook())


@pytest.fixture(scope="session")
def mail(until_group_ends: ExitStack) -> Mailbox:
    """Where the shared platform mails its notifications."""
    return until_group_ends.enter_context(mail_server())


@pytest.fixture(scope="session")
def platform(until_group_ends: ExitStack, chat: Webhook, mail: Mailbox) -> Platform:
    """The platform that several modules share; what each expects of it: tests.support.groups.ON_THE_PLATFORM.

    Its models: ``flights``; ``cabs``, which asks people; ``fares`` and ``tides``, which train on new data; ``late``,
    monthly, which is released and monitored; ``rides``, weekly and never released.
    """
    from tests.integration.model_bundle import TOKEN
    from tests.integration.monitored_model import MODEL

    root = Path(tempfile.mkdtemp(prefix="eg-"))  # short: sockets lie below it
    running = new_platform(root / "h", prometheus="prometheus" if shutil.which("prometheus") else "")
    models, home = root / "models", running.settings.home
    shutil.copytree(PROJECT / "include" / "models" / "flights", models / "flights")
    by_hand = {**MODEL["monitoring"], "schedule": None}  # a scheduled run would measure this year's windows, empty ones
    for name, text in {
        **{name: watching_model(name) for name in ON_NEW_DATA},
        "late": yaml.safe_dump(MODEL | {"monitoring": by_hand}),
        "cabs": model_yaml(**ASKING),
        "rides": yaml.safe_dump(MODEL | RIDES | {"monitoring": {**by_hand, "window": "week"}}),
    }.items():
        (models / name).mkdir()
        (models / name / "model.yaml").write_text(text, encoding="utf-8")
    (home / "secrets").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    write_private(home / "secrets" / "prediction_token", TOKEN)
    running.env |= {
        "EVERGREEN_MODELS": str(models),
        "EVERGREEN_DATA_POLL_SECONDS": "1",
        "AIRFLOW_CONN_EVERGREEN_ALERTS": json.dumps({"conn_type": "http", "host": chat.url}),
        "AIRFLOW_CONN_EVERGREEN_ALERTS_MAIL": json.dumps(mail.connection),
        "AIRFLOW_CONN_EVERGREEN_LAKE": json.dumps({"conn_type": "fs", "extra": {"path": str(running.lake)}}),
    }
    until_group_ends.callback(shutil.rmtree, root, ignore_errors=True)
    until_group_ends.callback(running.down)
    running.up()
    return running


@pytest.fixture(scope="module")
def monitored_on_platform(platform: Platform) -> Iterator[MonitoredModel]:
    """The model ``late`` on the shared platform, released once; this process sees the platform as its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in platform.env.items():
            if name.startswith(("EVERGREEN_", "AIRFLOW_CONN_EVERGREEN_")):
                patch.setenv(name, value)
        patch.delenv("EVERGREEN_STORE_URL", raising=False)
        made = released(platform.settings, platform.lake)
        patch.setattr("include.stages.installation.open_installation", lambda: made.installation)
        yield made


@lru_cache
def released(settings: Settings, lake: Path) -> MonitoredModel:
    """The model ``late``, released by the first module that asks for it.

    No server of the engine's serves it, which the watchdog would put right; tests/chaos has the watchdog at work.
    """
    from tests.integration.monitored_model import MonitoredModel

    open_supervisor(settings.run).stopProcess("watchdog")
    return MonitoredModel(settings.home, lake)


@pytest.fixture
def monitored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MonitoredModel:
    """The model ``late``, released, in a home of its own below the test's folder."""
    from tests.integration.monitored_model import MODEL, MonitoredModel

    models = tmp_path / "models" / "late"
    models.mkdir(parents=True)
    (models / "model.yaml").write_text(yaml.safe_dump(MODEL))
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("EVERGREEN_STORE_URL", raising=False)
    monkeypatch.setenv("AIRFLOW_CONN_EVERGREEN_LAKE", json.dumps({"conn_type": "fs", "extra": {"path": str(tmp_path)}}))
    made = MonitoredModel(tmp_path)
    monkeypatch.setattr("include.stages.installation.open_installation", lambda: made.installation)
    return made


@pytest.fixture
def served(place: Serving) -> Iterator[ModelSpec]:
    """Version 1 of a model of its own, ready in production."""
    from include.stages.installation import open_installation
    from tests.integration.engine_contract import server

    spec = place.new_model()
    open_installation().engine.start(spec, "production", "1", "production@1")
    server(spec)
    yield spec
    for version in open_installation().engine.servers(spec.name, "production"):
        open_installation().engine.stop(spec.name, "production", version)


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The Docker Engine behind mutual TLS, named by an Airflow connection; a list that grows with each connection."""
    from include.adapters.engines.docker.client import DockerHost
    from include.stages.installation import open_installation
    from tests.integration.remote_engine import behind_tls
    from tests.support.engines import docker_engine

    with behind_tls(tmp_path) as (connection, seen):
        monkeypatch.setenv("AIRFLOW_CONN_EVERGREEN_DOCKER", json.dumps(connection))
        monkeypatch.setattr(docker_engine(), "host", DockerHost(open_installation().settings))
        yield seen


@pytest.fixture(scope="module", params=ENGINES)
def serving(request: pytest.FixtureRequest) -> Iterator[Any]:
    """supervisord, Caddy and a registry in a home of their own, and three trained versions to deploy."""
    from tests.integration.engine_contract import contract_place

    yield from contract_place(request.param, request)


@pytest.fixture
def live(serving: Serving) -> Iterator[Any]:
    """A model with version 1 in production, and two more to deploy: 2 is good, 3 fails when distance is 666."""
    from tests.support.serving import release_first

    spec = release_first(serving)
    yield spec
    serving.retire(spec)


@pytest.fixture(scope="module")
def shared(serving: Serving) -> Iterator[Any]:
    from tests.support.serving import release_first

    spec = release_first(serving)
    yield spec
    serving.retire(spec)


@pytest.fixture
def standing(shared: ModelSpec) -> Iterator[Any]:
    """A model like ``live`` that several tests share; each leaves it as it was: version 1 serves, and nothing else."""
    from include.stages import deployment
    from include.stages.installation import open_installation

    yield shared
    for run in ("run-2", "run-3"):
        deployment.clear_test(open_installation(), shared, run)
    release = open_installation().store.release(shared.name, "production")
    assert (dict(release.weights), release.rollout) == ({"1": 100}, None)
    assert set(open_installation().engine.servers(shared.name, "production")) == {"1"}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a server reads of a version that is served as it was fitted."""
    from tests.integration.model_bundle import make_bundle

    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a server reads of a compiled version."""
    from tests.support.compiled_models import small_classifier

    return small_classifier(tmp_path_factory.mktemp("compiled"))
