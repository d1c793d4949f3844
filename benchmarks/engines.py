"""Both engines, measured the same way: ``python -m benchmarks.engines``, also part of ``make bench``.

For each engine: the time from a commit to a build and from starting a server to its first prediction, and what clients
see during a rollout, a rollback and a server crash under constant traffic without retries. For ``docker`` also the
images.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

from include.adapters.engines.environments import PreparedBuild
from include.adapters.serving.inference_client import InferenceClient
from include.core.errors import PlatformError
from include.stages import ci, deployment, rollback
from include.stages.installation import open_installation
from tests.support.engines import docker_host, installation, server_pid
from tests.support.real_repository import RealRepository
from tests.support.serving import MODEL_CODE, Serving, roll_out
from tests.support.traffic import keep_alive_traffic_of, logged
from tests.support.waiting import wait_for

RUNS = 3
CLIENTS = 8
ROW = [{"distance": 500.0, "hour": 8.0}]


def measured() -> Iterator[tuple[str, str]]:
    """Name and result of each measurement, for each available engine."""
    for engine in ("process", "docker"):
        try:
            with serving_place(engine) as (place, repository):
                yield from _measure(engine, place, repository)
        except PlatformError as error:
            yield f"engine {engine}", f"not measured: {error}"


@contextlib.contextmanager
def serving_place(engine: str) -> Iterator[tuple[Serving, RealRepository]]:
    """Somewhere to deploy to, with this engine, and the repository of its models."""
    with installation(engine) as home:
        os.environ |= {"AIRFLOW_HOME": str(home / "airflow"), "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
        repository = RealRepository(home / "git")
        place = Serving(repository)
        with contextlib.closing(place):
            yield place, repository


def _measure(engine: str, place: Serving, repository: RealRepository) -> Iterator[tuple[str, str]]:
    def build_again(number: int) -> None:
        repository.commit({"model.py": f"{MODEL_CODE}\nNUMBER = {number}\n"})
        _build(place)

    yield f"{engine}: build of a code-only commit", _median(build_again)
    specs = [place.new_model() for _ in range(RUNS)]
    yield (
        f"{engine}: from starting a server to its first prediction",
        _median(lambda number: _first_prediction(specs[number])),
    )
    if engine == "docker":
        yield from _images(place, repository)
    yield f"{engine}: rollout, rollback and server crash under traffic", _rollout(place)


def _build(place: Serving) -> PreparedBuild:
    installation = open_installation()
    commit = ci.check_out_commit(installation, place.template)
    return ci.build_environment(installation, place.template, commit)


def _first_prediction(spec: Any) -> None:
    engine = open_installation().engine
    engine.start(spec, "test", "1", "test@1")
    wait_for(lambda: engine.servers(spec.name, "test")["1"].state == "ready", what="the server")
    address, token = (
        engine.servers(spec.name, "test")["1"].address,
        open_installation().settings.secret("prediction_token"),
    )
    InferenceClient(spec.name, address, token).predict(spec, ROW, "first")


def _rollout(place: Serving) -> str:
    spec = place.new_model()
    deployment.start_canary(open_installation(), spec, "1", "first")
    deployment.promote(open_installation(), spec, "1", "first")
    started = time.monotonic()
    with keep_alive_traffic_of(spec, CLIENTS) as traffic:
        roll_out(spec, "2", "second")
        rollback.roll_back(open_installation(), spec, "back")
        before = server_pid(spec.name, "1")
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: server_pid(spec.name, "1") not in (0, before), what="the server's return")
        answered = len(traffic.answered)
        wait_for(lambda: len(traffic.answered) > answered + 100, what="answers")
    seconds = time.monotonic() - started
    lost = len(set(traffic.answered) - set(logged(spec)))
    rate = f"{len(traffic.answered)} requests, {len(traffic.answered) / seconds:.0f}/s"
    return f"{rate}, {len(traffic.failures)} failed, {lost} not in the log {traffic.failures[:1] or ''}".rstrip()


def _images(place: Serving, repository: RealRepository) -> Iterator[tuple[str, str]]:
    from include.adapters.engines.docker import images as docker_images

    spec = place.new_model()
    lineage, bundle = (
        open_installation().registry.lineage(spec.name, "1"),
        open_installation().registry.fetch(spec.name, "1"),
    )

    def release(number: int) -> None:
        docker_images.release_image(docker_host(), spec, "1", bundle, replace(lineage, run_id=str(number)))

    yield "docker: a new release image", _median(release)
    client = docker_host().client
    repository.commit({"model.py": f"{MODEL_CODE}\nNUMBER = 'cold'\n"})
    with patch.object(client.api, "build", partial(client.api.build, nocache=True)):
        start = time.perf_counter()
        built = _build(place)
        yield "docker: a build image without any cache", f"{time.perf_counter() - start:.0f} s"
    image = client.images.get(built.environment)
    layers = [step for step in image.history() if step["Size"]]
    sizes = ", ".join(f"{step['Size'] / 1e6:.2f}" for step in reversed(layers))
    yield "docker: layers of a build image, MB (base, packages, runtime, code)", sizes


def _median(what: Callable[[int], Any]) -> str:
    durations = []
    for number in range(RUNS):
        start = time.perf_counter()
        what(number)
        durations.append(time.perf_counter() - start)
    return f"{statistics.median(durations):.2f} s"


def main() -> None:
    """Print each figure as a line of JSON, ``[what, figure]``."""
    for what, figure in measured():
        print(json.dumps([what, figure]), flush=True)


if __name__ == "__main__":
    main()
