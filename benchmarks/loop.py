"""The loop on a platform of its own, with two months of the demo: ``python -m benchmarks.loop``.

Needs the default ports free.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from benchmarks.load import load
from demo import repository
from demo.airflow_client import AirflowClient
from include.embedded.environment import INSTANCE
from include.settings import PROJECT, Settings
from tests.support.waiting import wait_for

RUNS = 3
"""How often each pair of trainings (by Airflow, and as a plain script) is timed, alternately; medians are compared."""
WINDOW = "2013-04"
MONTHS = 2
IDLE_SECONDS, SETTLE_SECONDS = 60.0, 45.0
PARTS = {
    "LocalExecutor": "scheduler's idle workers",
    "airflow scheduler": "scheduler",
    "airflow dag-processor": "dag-processor",
    "airflow triggerer": "triggerer",
    "api_server": "api-server",
    "mlflow.sock": "MLflow",
    "caddy": "gateway",
    "embedded.watchdog": "watchdog",
    "supervisord": "supervisord",
}
"""What the command of a part's processes contains → the part."""
LAKE = '{"conn_type": "fs", "extra": {"path": "lake"}}'
"""The connection from airflow_settings.yaml, for the plain script: outside a task, Airflow reads only variables."""


def measured() -> Iterator[tuple[str, str]]:
    """Name and result of each measurement."""
    with platform() as settings:
        yield "start of the platform, databases already created", f"{start_seconds(settings):.0f} s"
        yield "memory of the idle platform (PSS)", f"{memory_mb(settings):.0f} MB"
        demo = run(settings, "-m", "demo", "--months", str(MONTHS), check=False)
        if not (settings.home / "demo" / "report.json").exists():
            raise SystemExit(demo.stdout + demo.stderr)
        report = json.loads((settings.home / "demo" / "report.json").read_text(encoding="utf-8"))
        yield "from the first commit to its model in production", f"{first_release(report):.1f} s"
        yield "from degraded health to the better version in production", f"{health_to_release(report):.1f} s"
        yield from idle_parts(settings, "one model in production")
        airflow = AirflowClient(f"http://127.0.0.1:{settings.airflow_port}", "admin", settings.secret("admin_password"))
        yield "from pushing a commit to the first task of ci", f"{push_to_ci(settings, airflow):.1f} s"
        by_airflow, plain = training_pairs(settings, airflow)
        yield "training as a Dag run", f"{by_airflow:.1f} s"
        yield "the same work as a plain script", f"{plain:.1f} s"
        yield "ratio (goal: at most 1.2)", f"{by_airflow / plain:.2f}"
        for name, figures in prediction_load(settings).items():
            yield f"prediction {name}", figures


@contextmanager
def platform() -> Iterator[Settings]:
    """A temporary platform on the default ports."""
    with tempfile.TemporaryDirectory(prefix="eg-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings(home=Path(folder).resolve())
        try:
            yield settings
        finally:
            run(settings, "-m", "include.embedded", "down")


def run(settings: Settings, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments on the platform; its output is shown if it fails."""
    environment = {**os.environ, "EVERGREEN_HOME": str(settings.home), "AIRFLOW_CONN_EVERGREEN_LAKE": LAKE}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done


def start_seconds(settings: Settings) -> float:
    """Seconds of the second start; the first one creates the databases and is not counted."""
    run(settings, "-m", "include.embedded", "up")
    run(settings, "-m", "include.embedded", "down")
    start = time.perf_counter()
    run(settings, "-m", "include.embedded", "up")
    return time.perf_counter() - start


def memory_mb(settings: Settings) -> float:
    """Proportional set size of all the platform's processes, in MB."""
    return sum(one.memory for one in parts(settings).values())


@dataclass
class Part:
    """What all processes of one part take together."""

    memory: float = 0.0
    """Proportional set size, MB."""
    seconds: float = 0.0
    """Processor time since they were started, also of processes that they started and that have ended."""


def parts(settings: Settings) -> dict[str, Part]:
    """Each part of the platform → what it takes now."""
    found: dict[str, Part] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(INSTANCE) == str(settings.home):
                part = found.setdefault(_part(" ".join(process.cmdline())), Part())
                part.memory += process.memory_full_info().pss / 1e6
                part.seconds += sum(process.cpu_times()[:4])
    return found


def _part(command: str) -> str:
    return next((name for sign, name in PARTS.items() if sign in command), "other")


def idle_parts(settings: Settings, models: str) -> Iterator[tuple[str, str]]:
    """What each part takes of memory and of a processor while nothing happens.

    Without the models' servers, whose environment names no installation (:mod:`benchmarks.many_servers` measures them).
    """
    _pass(SETTLE_SECONDS)
    before = parts(settings)
    _pass(IDLE_SECONDS)
    after = parts(settings)
    used = {
        name: 100 * max(0.0, part.seconds - before.get(name, Part()).seconds) / IDLE_SECONDS
        for name, part in after.items()
    }
    for name, part in sorted(after.items()):
        yield f"idle with {models}: {name}", f"{part.memory:.0f} MB (PSS), {used[name]:.1f} % of a core"
    total = sum(part.memory for part in after.values())
    yield f"idle with {models}: all parts", f"{total:.0f} MB (PSS), {sum(used.values()):.1f} % of a core"


def _pass(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > until, seconds + 10, "the idle platform")


def first_release(report: dict[str, Any]) -> float:
    """Seconds from the start of the first ci run to the end of the deployment that released its model."""
    stages = report["stages"]
    checked = next(stage for stage in stages if stage["stage"] == "ci")
    deployed = next(stage for stage in stages if stage["stage"] == "deployment")
    return (pd.Timestamp(deployed["ended"]) - pd.Timestamp(checked["started"])).total_seconds()


def push_to_ci(settings: Settings, airflow: AirflowClient) -> float:
    """Seconds from the end of a push to the start of the first task of the run that it causes."""
    bare = settings.home / "repositories" / "flights.git"
    commit = repository.change(bare, "A commit to measure", {"README.md": {"# ": "# Measured: "}})
    pushed = pd.Timestamp.now(tz="UTC")
    caused = airflow.await_caused("flights.ci", lambda event: commit in json.dumps(event), 120, commit)
    run_id = caused["dag_run_id"]
    airflow.await_end("flights.ci", run_id, 600)
    # Wait for the training that the build starts, which would disturb the next measurement.
    training = airflow.await_caused(
        "flights.training", lambda event: event.get("source_run_id") == run_id, 120, f"the build of {run_id}"
    )
    airflow.await_end("flights.training", training["dag_run_id"], 600)
    first = min(pd.Timestamp(task["start_date"]) for task in airflow.tasks("flights.ci", run_id) if task["start_date"])
    return (first - pushed).total_seconds()


def health_to_release(report: dict[str, Any]) -> float:
    """Seconds from the end of the monitoring run that found the degradation to the end of the resulting deployment."""
    released = next(entry for entry in report["retrainings"] if entry.get("promoted"))
    stages = [stage for stage in report["stages"] if stage.get("month") == released["month"]]
    measured = next(stage for stage in stages if stage["stage"] == "monitoring")
    deployed = next(stage for stage in stages if stage["stage"] == "deployment")
    return (pd.Timestamp(deployed["ended"]) - pd.Timestamp(measured["ended"])).total_seconds()


def training_pairs(settings: Settings, airflow: AirflowClient) -> tuple[float, float]:
    """Median seconds of a training by Airflow, from trigger to end, and of the plain script."""
    useless = {"parameters": {"smallest_leaf": 10**6}}  # never promoted, so that no deployment runs at the same time
    by_airflow, plain = [], []
    for number in range(RUNS):
        start = time.perf_counter()
        run_id = airflow.trigger("flights.training", f"bench-{number}", {"window": WINDOW, **useless})["dag_run_id"]
        airflow.await_end("flights.training", run_id, 600)
        by_airflow.append(time.perf_counter() - start)
        start = time.perf_counter()
        script = ["-m", "include.embedded", "env", "--", sys.executable, "-m", "benchmarks.plain_training"]
        run(settings, *script, "flights", WINDOW, json.dumps(useless["parameters"]))
        plain.append(time.perf_counter() - start)
    return statistics.median(by_airflow), statistics.median(plain)


def prediction_load(settings: Settings) -> dict[str, str]:
    """One row per request: over one and eight connections, directly and through the gateway, and on a busy machine."""
    body = json.loads((settings.home / "demo" / "request.json").read_text(encoding="utf-8"))
    one_row = [{**column, "shape": [1], "data": column["data"][:1]} for column in body["inputs"]]
    configs = [json.loads(path.read_text(encoding="utf-8")) for path in (settings.run / "servers").glob("*.json")]
    live = (settings.run / "gateway" / "flights" / "live").read_text(encoding="utf-8")
    assert live in {f"{config['host']}:{config['port']}" for config in configs}

    def figures(address: str, clients: int, requests: int) -> str:
        token, path = settings.secret("prediction_token"), "/v2/models/flights/infer"
        result = load(address, path, token, {"inputs": one_row}, clients=clients, requests=requests)
        speed = f"{result.requests_per_second:.0f}/s, p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"
        return f"{speed}, {result.failed} failed"

    measured = {}
    for clients in (1, 8):
        for name, address in {"directly": live, "through the gateway": f"127.0.0.1:{settings.gateway_port}"}.items():
            measured[f"{name}, {clients} connection(s)"] = figures(address, clients, 1600)
    with busy_processors():
        measured["directly, 1 connection, with one busy process per CPU"] = figures(live, 1, 200)
    return measured


@contextmanager
def busy_processors() -> Iterator[None]:
    """One busy process per CPU."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    """Print each figure as a line of JSON, ``[what, figure]``."""
    for row in measured():
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
