"""``make bench``: runs two months of the demo on a separate platform, measures it, prints a table and writes JSON.

Every figure is printed next to its baseline from the same run. Takes about three quarters of an hour; needs the
default ports free.
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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from benchmarks.coverage import coverage
from benchmarks.load import load
from benchmarks.model_pages import model_pages
from benchmarks.parse_time import seconds_to_parse
from demo import repository
from demo.airflow_client import AirflowClient
from include.embedded.environment import INSTANCE
from include.settings import PROJECT, Settings

RUNS = 3
"""How often each pair of trainings (by Airflow, and as a plain script) is timed, alternately; medians are compared."""
WINDOW = "2013-04"
MONTHS = 2
LAKE = '{"conn_type": "fs", "extra": {"path": "lake"}}'
"""The connection from airflow_settings.yaml, for the plain script: outside a task, Airflow reads only variables."""


def main() -> None:
    """Run all benchmarks; print each figure when it is measured, and all of them as one table at the end."""
    rows: list[tuple[str, str]] = []

    def show(what: str, figure: str) -> None:
        rows.append((what, figure))
        print(f"{what}: {figure}", flush=True)

    for models in (1, 10, 100, 1000):
        dags, seconds = seconds_to_parse(models, runs=1 if models > 100 else 3)
        show(f"parse dags/ with {models} model(s), {dags} Dags", f"{seconds:.2f} s")
    for what, figure in (*coverage(), *model_pages()):
        show(what, figure)
    with platform() as settings:
        show("start of the platform, databases already created", f"{start_seconds(settings):.0f} s")
        show("memory of the idle platform (PSS)", f"{memory_mb(settings):.0f} MB")
        demo = run(settings, "-m", "demo", "--months", str(MONTHS), check=False)
        if not (settings.home / "demo" / "report.json").exists():
            raise SystemExit(demo.stdout + demo.stderr)
        report = json.loads((settings.home / "demo" / "report.json").read_text(encoding="utf-8"))
        airflow = AirflowClient(f"http://127.0.0.1:{settings.airflow_port}", "admin", settings.secret("admin_password"))
        show("from pushing a commit to the first task of ci", f"{push_to_ci(settings, airflow):.1f} s")
        show("from degraded health to the better version in production", f"{health_to_release(report):.1f} s")
        by_airflow, plain = training_pairs(settings, airflow)
        show("training as a Dag run", f"{by_airflow:.1f} s")
        show("the same work as a plain script", f"{plain:.1f} s")
        show("ratio (goal: at most 1.2)", f"{by_airflow / plain:.2f}")
        for name, figures in prediction_load(settings).items():
            show(f"prediction {name}", figures)
    for module in ("benchmarks.serving", "benchmarks.engines", "benchmarks.executors", "benchmarks.drift"):
        process = subprocess.Popen([sys.executable, "-m", module], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        for line in process.stdout or ():
            if line.startswith("["):
                show(*json.loads(line))
        if process.wait() != 0:
            raise SystemExit(f"{module} failed; see its error above")
    path = PROJECT / ".evergreen" / "bench.json"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(json.dumps(dict(rows), indent=1), encoding="utf-8")
    print(f"\n| measured by `make bench` | {os.cpu_count()} cores |\n| --- | --- |")
    print("\n".join(f"| {what} | {figure} |" for what, figure in rows))


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
    total = 0
    for process in psutil.process_iter():
        try:
            if process.environ().get(INSTANCE) == str(settings.home):
                total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e6


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


if __name__ == "__main__":
    main()
