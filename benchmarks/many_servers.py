"""Fifty models served at once, then all of them in a canary: ``python -m benchmarks.many_servers``.

Also part of ``make bench``. Each model has a compiled server of its own behind one gateway. Measured are the time until
a release serves, what the servers take when idle, and what clients see who ask all models in turn.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import psutil

from benchmarks.engines import serving_place
from benchmarks.load import Load, load
from include.adapters.serving.inference_request import inference_inputs
from include.core.spec import ModelSpec
from include.stages import deployment
from include.stages.installation import open_installation
from tests.support.engines import server_pid
from tests.support.ports import free_range
from tests.support.waiting import wait_for

MODELS, CLIENTS, REQUESTS = 50, 8, 200
IDLE_SECONDS = 30.0
ROW = [{"id": "one", "at": "2013-06-01T08:00:00", "distance": 500.0, "hour": 8.0}]


def measured() -> Iterator[tuple[str, str]]:
    """Name and result of each measurement."""
    with serving_place("process") as (place, _):
        os.environ["EVERGREEN_SERVER_PORTS"] = free_range(blocks=3)
        specs = [place.new_model() for _ in range(MODELS)]
        seconds = [_release(spec) for spec in specs]
        yield f"{MODELS} models: from a release's start until it serves, one after the other", _spread(seconds)
        yield from _figures(f"{MODELS} models", specs, ("1",))
        begun = time.perf_counter()
        for spec in specs:
            deployment.start_canary(open_installation(), spec, "2", "second")
        yield f"{MODELS} canaries: started one after the other", f"{time.perf_counter() - begun:.0f} s"
        yield from _figures(f"{MODELS} canaries", specs, ("1", "2"))


def _release(spec: ModelSpec) -> float:
    """Seconds that releasing version 1 takes."""
    begun = time.perf_counter()
    deployment.start_canary(open_installation(), spec, "1", "first")
    deployment.promote(open_installation(), spec, "1", "first")
    return time.perf_counter() - begun


def _figures(what: str, specs: Sequence[ModelSpec], versions: Sequence[str]) -> Iterator[tuple[str, str]]:
    servers = [psutil.Process(server_pid(spec.name, version)) for spec in specs for version in versions]
    before = _cpu_seconds(servers)
    until = time.monotonic() + IDLE_SECONDS
    wait_for(lambda: time.monotonic() > until, IDLE_SECONDS + 10, "the idle servers")
    used = _cpu_seconds(servers) - before
    memory = sum(each.memory_full_info().pss for one in servers for each in (one, *one.children(recursive=True))) / 1e6
    idle = f"{memory:.0f} MB (PSS), {memory / len(servers):.0f} MB each, {100 * used / IDLE_SECONDS:.1f} % of a core"
    yield f"{what}: {len(servers)} idle servers", idle
    for clients in (1, CLIENTS):
        begun = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            answered = list(pool.map(_ask, specs))
        rate = len(specs) * REQUESTS / (time.perf_counter() - begun)
        median = statistics.median(one.p50_ms for one in answered)
        worst, failed = max(one.p99_ms for one in answered), sum(one.failed for one in answered)
        yield (
            f"{what}: one row through the gateway, {clients} client(s)",
            f"{rate:.0f}/s, p50 {median:.2f} ms, worst model's p99 {worst:.1f} ms, {failed} failed",
        )


def _ask(spec: ModelSpec) -> Load:
    settings = open_installation().settings
    body = {"inputs": inference_inputs(spec, ROW)}
    path, token = f"/v2/models/{spec.name}/infer", settings.secret("prediction_token")
    return load(f"127.0.0.1:{settings.gateway_port}", path, token, body, clients=1, requests=REQUESTS)


def _cpu_seconds(servers: Sequence[psutil.Process]) -> float:
    return sum(sum(each.cpu_times()[:2]) for one in servers for each in (one, *one.children(recursive=True)))


def _spread(seconds: Sequence[float]) -> str:
    return f"median {statistics.median(seconds):.2f} s, first {seconds[0]:.2f} s, last {seconds[-1]:.2f} s"


def main() -> None:
    """Print each figure as a line of JSON, ``[what, figure]``."""
    for row in measured():
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
