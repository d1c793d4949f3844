"""The server of a compiled model answers as that of the fitted one: the same requests, compared byte for byte."""

import asyncio
import gzip
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from include.runtime.model_server import ModelServer
from include.runtime.routes import Application
from tests.support.compiled_models import small_classifier
from tests.support.small_model import FEATURES, ROW, body, request

TOKEN = {"authorization": "Bearer test-token"}
INFER = "/v2/models/small/infer"
MISSING = {feature["name"]: {"data": [None] * 3} for feature in FEATURES}
KINDS = ("fitted", "compiled")


def binary() -> tuple[bytes, dict[str, str]]:
    """A request whose numbers and texts are bytes after the JSON."""
    content, tail = request(2), b""
    for entry, data in zip(
        content["inputs"][:2],
        [struct.pack("<2d", 500.0, float("nan")), b"".join(struct.pack("<I", len(t)) + t for t in (b"EWR", b""))],
        strict=True,
    ):
        del entry["data"]
        entry["parameters"] = {"binary_data_size": len(data)}
        tail += data
    head = json.dumps(content).encode()
    return head + tail, {"inference-header-content-length": str(len(head))}


REQUESTS: dict[str, tuple[str, str, bytes, dict[str, str]]] = {
    "one row": ("POST", INFER, body(), {}),
    "with the version": ("POST", "/v2/models/small/versions/3/infer", body(), {}),
    "three rows": ("POST", INFER, body(3), {}),
    "the most rows": ("POST", INFER, body(100), {}),
    "a row too many": ("POST", INFER, body(101), {}),
    "no rows": ("POST", INFER, body(0), {}),
    "all missing": ("POST", INFER, body(3, **MISSING), {}),
    "a category never seen": ("POST", INFER, body(origin={"data": ["nowhere"]}), {}),
    "an empty category": ("POST", INFER, body(origin={"data": [""]}), {}),
    "a category with what is not in ASCII": ("POST", INFER, body(origin={"data": ["Zürich ✈\u2028"]}), {}),
    "a category that ends early": ("POST", INFER, body(origin={"data": ["EWR\0"]}), {}),
    "a boolean as a number": ("POST", INFER, body(night={"datatype": "INT8", "data": [0]}), {}),
    "a large number": ("POST", INFER, body(distance={"data": [1e30]}), {}),
    "an integer beyond 64 bits": ("POST", INFER, body(distance={"data": [10**20]}), {}),
    "compressed": ("POST", INFER, gzip.compress(body()), {"content-encoding": "gzip"}),
    "not compressed": ("POST", INFER, body(), {"content-encoding": "gzip"}),
    "unknown compression": ("POST", INFER, body(), {"content-encoding": "br"}),
    "binary": ("POST", INFER, *binary()),
    "binary without its end": ("POST", INFER, binary()[0][:-1], binary()[1]),
    "not JSON": ("POST", INFER, b"{", {}),
    "NaN": ("POST", INFER, body().replace(b"500.0", b"NaN"), {}),
    "infinite": ("POST", INFER, body().replace(b"500.0", b"1e999"), {}),
    "half a character": ("POST", INFER, body(origin={"data": ["\ud800"]}), {}),
    "an input too few": ("POST", INFER, body(origin=None), {}),
    "no key": ("POST", INFER, body(id=None), {}),
    "wrong type": ("POST", INFER, body(distance={"data": ["far"]}), {}),
    "wrong type in a long column": ("POST", INFER, body(40, distance={"data": [1.0] * 39 + ["far"]}), {}),
    "too large": ("POST", INFER, b" " * 20_001, {}),
    "optional inputs": ("POST", INFER, body(night=None, distance={"datatype": "BYTES", "data": ["500"]}), {}),
    "unknown route": ("GET", "/v2/models/other", b"", {}),
    "wrong method": ("GET", INFER, b"", {}),
    "no token": ("POST", INFER, body(), {"authorization": ""}),
    "live": ("GET", "/v2/health/live", b"", {}),
    "ready": ("HEAD", "/v2/health/ready", b"", {}),
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("both")
    (folder / "optional.json").write_text(json.dumps({"night": "2999-12-31", "distance": "2999-12-31"}))
    return small_classifier(folder)


@pytest.fixture(scope="module")
def servers(config: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    logs = {kind: str(tmp_path_factory.mktemp(kind)) for kind in KINDS}
    compiled = Application(ModelServer(config | {"log_dir": logs["compiled"]}))
    fitted = Application(ModelServer(config | {"compiled": None, "log_dir": logs["fitted"]}))
    assert (compiled.server.predictor.platform, fitted.server.predictor.platform) == ("onnxruntime", "scikit-learn")
    return {"fitted": fitted, "compiled": compiled}


def ask(application: Any, method: str, path: str, content: bytes, headers: dict[str, str]) -> Any:
    """Status, headers and body of an answer."""
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": content}

    async def send(message: Any) -> None:
        sent.append(message)

    encoded = [(name.encode(), value.encode()) for name, value in (TOKEN | headers).items()]
    scope = {"type": "http", "method": method, "path": path, "headers": encoded}
    asyncio.run(application(scope, receive, send))
    start, end = sent
    return start["status"], dict(start["headers"]), end["body"]


def comparable(content: bytes) -> Any:
    """The text of an answer or a line without what no two of them share (ids, times), and without predictions."""
    if not content.startswith(b"{"):
        return content
    values = json.loads(content)
    for name in ("request_id", "server_request_id", "received", "predictions", "id"):
        values.pop(name, None)
    values.get("parameters", {}).pop("server_request_id", None)
    for output in values.get("outputs", []):
        assert len(output.pop("data")) == output["shape"][0]
    return json.dumps(values, ensure_ascii=False)  # in the order of the answer


def predictions(content: bytes) -> list[float]:
    outputs = json.loads(content).get("outputs", []) if content.startswith(b"{") else []
    return [value for output in outputs for value in output.get("data", [])]


@pytest.mark.parametrize("name", REQUESTS)
def test_both_servers_give_the_same_answer(servers: Any, name: str) -> None:
    answers = [ask(servers[kind], *REQUESTS[name]) for kind in KINDS]
    (code, headers, content), (other_code, other_headers, other_content) = answers
    assert other_code == code, (content, other_content)
    assert set(headers) == set(other_headers)
    assert comparable(content) == comparable(other_content)
    assert predictions(other_content) == pytest.approx(predictions(content), abs=1e-5)


def test_both_servers_write_the_same_lines_and_count_the_same(servers: Any) -> None:
    for kind in KINDS:
        for made in REQUESTS.values():
            ask(servers[kind], *made)
    lines = []
    for kind in KINDS:
        (segment,) = Path(servers[kind].server.log.folder).glob("*.jsonl")
        lines.append([comparable(line) for line in segment.read_bytes().splitlines()])
        for line in segment.read_bytes().splitlines():
            assert len(json.loads(line)["predictions"]) == len(json.loads(line)["keys"])
    assert lines[0] == lines[1] and len(lines[0]) >= 13
    exposed = [
        {
            line
            for line in ask(servers[kind], "GET", "/metrics", b"", {})[2].decode().splitlines()
            if line.startswith("evergreen_") and "seconds" not in line and "prediction_" not in line
        }
        for kind in KINDS
    ]
    assert exposed[0] == exposed[1] and any('code="413"' in line for line in exposed[0])


PROGRAM = """
import asyncio, json, sys
from include.runtime import serve
from include.runtime.model_server import ModelServer
from include.runtime.routes import Application

config, content = json.load(open(sys.argv[1])), open(sys.argv[2], "rb").read()
application = Application(ModelServer(config))
code, answer = application.server.answer(content)
assert code == 200, answer
application.server.metrics.exposition()
print(json.dumps(sorted(sys.modules)))
"""


def test_no_code_of_the_model_and_no_pandas_is_in_a_compiled_models_process(config: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "body").write_bytes(body())
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "config.json"), str(tmp_path / "body")]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = json.loads(done.stdout)
    assert "onnxruntime" in modules
    unwanted = {"pandas", "sklearn", "scipy", "skops", "joblib", "pyarrow", "starlette", "pickle5"}
    assert not [name for name in modules if name.partition(".")[0] in unwanted]
    own = config["model"]["estimator"].partition(":")[0]
    assert own not in modules, "the model's own module was imported"


@pytest.mark.parametrize("rows", [1, 15, 16, 100])
def test_a_batch_gives_each_row_the_prediction_that_it_has_alone(servers: Any, rows: int) -> None:
    random = np.random.default_rng(rows)
    columns: dict[str, list[Any]] = {
        "distance": [float(value) if value > 200 else None for value in random.uniform(100, 1000, rows)],
        "origin": random.choice(["EWR", "JFK", "nowhere", ""], rows).tolist(),
        "night": [bool(value) if value < 2 else None for value in random.integers(0, 3, rows)],
    }
    predictor = servers["compiled"].server.predictor
    alone = [
        predictor.predict({name: values[row : row + 1] for name, values in columns.items()}) for row in range(rows)
    ]
    together = predictor.predict(columns)
    assert np.concatenate(alone) == pytest.approx(together, abs=1e-6)
    assert together == pytest.approx(servers["fitted"].server.predictor.predict(columns), abs=1e-5)
    assert set(ROW) >= set(columns)
