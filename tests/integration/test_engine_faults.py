"""The Docker Engine dies in the middle of a build, of a canary and while it serves; its disk is full.

The engine is one of the test's own, so that it can be killed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from include.core.errors import PlatformError
from include.core.spec import ModelSpec
from include.stages import ci, deployment
from include.stages.installation import open_installation
from tests.integration.private_engine import NEEDS, PrivateEngine, private_engine
from tests.support.engines import docker_host, installation
from tests.support.real_repository import RealRepository
from tests.support.serving import MODEL_CODE, Serving, small_spec
from tests.support.traffic import ask, logged, traffic_of
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900), pytest.mark.needs(*NEEDS)]

GONE = r"no Docker Engine responds.*bin/docker-engine"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running private engine that an installation of its own uses."""
    with private_engine(tmp_path_factory.mktemp("engine")) as private, installation("docker"):
        yield private


@pytest.fixture(scope="module")
def live(engine: Any) -> Iterator[Any]:
    """Version 1 of a model in production, and version 2 to deploy."""
    with closing(Serving(RealRepository(open_installation().settings.home / "git"))) as place:
        spec = place.new_model()
        deployment.start_canary(open_installation(), spec, "1", "run-1")
        deployment.promote(open_installation(), spec, "1", "run-1")
        yield spec
        place.retire(spec)


def commit_of_its_own(name: str) -> Any:
    """The spec of a model in a new repository, and its commit; its packages are those of every test's model."""
    folder = open_installation().settings.home / name
    folder.mkdir(parents=True)
    repository = RealRepository(folder)
    repository.commit({"model.py": MODEL_CODE, "requirements.txt": "scikit-learn==1.9.1\n"})
    spec = small_spec(name, str(repository.bare))
    return spec, ci.check_out_commit(open_installation(), spec)


def test_a_build_whose_engine_died_is_made_by_the_next_try(engine: PrivateEngine) -> None:
    spec, commit = commit_of_its_own("begun")
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(ci.build_environment, open_installation(), spec, commit)
        wait_for(
            lambda: any("uv pip sync" in str(one.attrs["Args"]) for one in docker_host().client.containers.list()), 120
        )
        engine.kill()
        with pytest.raises(PlatformError, match="Docker Engine"):
            building.result(120)
    with pytest.raises(PlatformError, match=GONE):
        ci.build_environment(open_installation(), spec, commit)
    engine.start()
    made = ci.build_environment(open_installation(), spec, commit)
    assert not made.cached
    assert docker_host().client.images.get(made.environment).labels["evergreen.model"] == "begun"


def test_a_server_whose_engine_died_serves_again_with_every_answer_in_the_log(
    engine: PrivateEngine, live: ModelSpec
) -> None:
    with traffic_of(live) as traffic:
        wait_for(lambda: len(traffic.answered) > 50, what="traffic")
        engine.kill()
        with pytest.raises(PlatformError, match=GONE):
            open_installation().engine.servers(live.name, "production")
        with pytest.raises(PlatformError, match=GONE):
            open_installation().engine.fetch_predictions(live.name)
        engine.start()
        answered = len(traffic.answered)
        wait_for(lambda: len(traffic.answered) > answered + 50, what="answers, though nobody did anything")
    assert set(traffic.answered) <= set(logged(live))


def test_a_canary_whose_engine_died_holds_and_is_rolled_back_when_it_answers_again(
    engine: PrivateEngine, live: ModelSpec
) -> None:
    deployment.start_canary(open_installation(), live, "2", "run-2")
    engine.kill()
    verdict, finished = deployment.watch_canary(open_installation(), live, "run-2")
    assert (verdict.answer, finished) == ("hold", False), "what can't be measured is not passed"
    with pytest.raises(PlatformError, match=GONE):
        deployment.settle(open_installation(), live, "run-2")
    engine.start()
    deployment.settle(open_installation(), live, "run-2")  # Airflow's next try
    assert dict(open_installation().store.release(live.name, "production").weights) == {"1": 100}
    wait_for(
        lambda: set(open_installation().engine.servers(live.name, "production")) == {"1"}, what="the canary to be gone"
    )
    wait_for(lambda: ask(live, "after").status_code == 200, what="an answer")
    assert ask(live, "again").json()["model_version"] == "1"
    assert open_installation().registry.alias(live.name, "champion") == "1"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Any]:
    """A private engine on a disk that holds the base image and not much more, and a home of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with ExitStack() as stack:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=450m", "tmpfs", str(disk)], check=True)
        stack.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=False, capture_output=True)
        private = stack.enter_context(private_engine(disk))
        stack.enter_context(installation("docker"))
        yield private


def test_a_build_that_fills_the_disk_says_so_and_leaves_nothing_half_done(small_disk: PrivateEngine) -> None:
    spec, commit = commit_of_its_own("large")
    with pytest.raises(PlatformError, match=r"large: the Docker host's disk is full. Free some.*run again"):
        ci.build_environment(open_installation(), spec, commit)
    assert not list(open_installation().settings.builds.glob("large/*/image")), "a build without an image"
    assert not docker_host().client.images.list(filters={"label": "evergreen.kind=build"})
    assert docker_host().client.containers.list(all=True) == [], "no container of the build is left"
