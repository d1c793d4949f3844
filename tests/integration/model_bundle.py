"""A trained model and real servers of it, for the tests of serving."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.conftest import PROJECT
from tests.support.compiled_models import server_config
from tests.support.ports import free_port
from tests.support.small_model import model_block, request
from tests.support.traffic import Traffic
from tests.support.waiting import wait_for

FEATURE_CODE = """
import time
from pathlib import Path

HERE = Path(__file__).parent


def prepare(frame):
    if (frame["distance"] == 666).any():
        raise RuntimeError("the devil is in the data")
    if (frame["distance"] == 1000).any():
        (HERE / "begun").touch()
        deadline = time.monotonic() + 15
        while not (HERE / "go_on").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    return frame
"""
"""Fails for a distance of 666, and for 1000 says that it has begun and waits until it may go on."""
TOKEN = "test-token"
SECONDS_TO_START = 60
CLIENTS = 4
SERVE = ("-m", "include.runtime.serve")


def make_bundle(folder: Path) -> Any:
    """Train the small model in ``folder``; returns the config of a server of it, without its port and log."""
    return server_config(folder, model_block(folder / "code", FEATURE_CODE, feature_code="prepare"))


@dataclass
class Server:
    """A server's process, and how to ask it."""

    process: subprocess.Popen[bytes]
    url: str
    log_dir: Path
    output: Path

    def ask(self, method: str, path: str, token: str | None = TOKEN, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        headers |= more.pop("headers", {})
        return requests.request(method, self.url + path, headers=headers, timeout=30, **more)

    def infer(self, rows: int = 1, identity: str = "", **changes: Any) -> requests.Response:
        """Ask for ``rows`` predictions, with an id that stands in the answer; see small_model.request."""
        content = {**request(rows, **changes), "id": identity or uuid.uuid4().hex}
        return self.ask("POST", "/v2/models/small/infer", json=content)

    def logged(self) -> dict[str, dict[str, Any]]:
        """Request id → its entry, of all whole lines; fails if any but a segment's last line is torn."""
        found = {}
        for segment in self.segments():
            *lines, rest = segment.read_bytes().split(b"\n")
            for line in lines:
                entry = json.loads(line)
                assert entry["request_id"] not in found, "one request stands in the log twice"
                found[entry["request_id"]] = entry
            assert not rest or not _is_json(rest), "the last line lacks its end"
        return found

    def segments(self) -> list[Path]:
        return sorted(self.log_dir.glob("*.jsonl"))

    def metrics(self) -> str:
        return self.ask("GET", "/metrics").text

    def count(self, sample: str) -> float:
        """The value of one metric, such as ``evergreen_requests_total{code="200"}``; labels may be left out."""
        name, _, labels = sample.rstrip("}").partition("{")
        for line in self.metrics().splitlines():
            if re.match(rf"{name}[{{ ]", line) and labels in line:
                return float(line.rpartition(" ")[2])
        return 0.0


@contextmanager
def start_server(
    folder: Path, config: dict[str, Any], program: Sequence[str] = SERVE, **changes: Any
) -> Iterator[Server]:
    """A server with this config, ready to answer; killed at the end if it still runs."""
    folder.mkdir(exist_ok=True)
    config = {**config, "port": free_port(), "log_dir": str(folder / "log"), **changes}
    output = folder / "output.log"
    process = start_process(folder, config, output, program)
    server = Server(process, f"http://127.0.0.1:{config['port']}", folder / "log", output)
    try:
        wait_for(lambda: _ready(server), SECONDS_TO_START, "the server")
        yield server
    finally:
        process.kill()
        process.wait(10)


def start_process(
    folder: Path, config: dict[str, Any], output: Path, program: Sequence[str] = SERVE
) -> subprocess.Popen[bytes]:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, *program, str(folder / "config.json")],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def _ready(server: Server) -> bool:
    said = server.output.read_text(encoding="utf-8")
    assert server.process.poll() is None, f"the server ended with code {server.process.returncode}: {said}"
    try:
        return server.ask("GET", "/v2/health/ready").ok
    except requests.ConnectionError:
        return False


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def clients_of(server: Server) -> Traffic:
    """Clients that ask for 20 predictions at a time."""
    return Traffic(lambda identity: server.infer(20, identity), clients=CLIENTS)
