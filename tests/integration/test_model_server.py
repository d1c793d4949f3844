"""Serving with real servers: nobody without the token is answered, and no prediction leaves that is not in the log."""

import gzip
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from include.runtime.jobs import MISTAKE
from include.runtime.model_server import ModelServer
from include.runtime.routes import Application
from tests.integration.model_bundle import (
    SECONDS_TO_START,
    TOKEN,
    Server,
    clients_of,
    start_process,
    start_server,
)
from tests.support.ports import free_port
from tests.support.small_model import FEATURES, body, request
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
INFER = "/v2/models/small/infer"
NO_ROUTES = [
    "/",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/v2/models/other/infer",
    "/v2/models/small/versions/9",
    "//metrics",
]


@pytest.fixture(scope="module")
def fitted_server(tmp_path_factory: pytest.TempPathFactory, bundle: Any) -> Iterator[Any]:
    with start_server(tmp_path_factory.mktemp("server"), bundle) as server:
        yield server


@pytest.fixture(scope="module")
def compiled_server(tmp_path_factory: pytest.TempPathFactory, compiled: Any) -> Iterator[Any]:
    with start_server(tmp_path_factory.mktemp("server"), compiled) as server:
        yield server


@pytest.fixture(scope="module", params=["fitted", "compiled"])
def server(request: pytest.FixtureRequest) -> Any:
    """A server with the model's code in it, and one of a compiled model."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture(scope="module")
def routes(bundle: Any) -> Any:
    made = Application(ModelServer(bundle)).routes
    methods = {"GET": ("GET", "HEAD"), "POST": ("POST",)}
    return [(each, path) for path, (method, _) in made.items() for each in methods[method]]


def test_the_server_has_just_the_routes_of_the_protocol_and_its_metrics(routes: Any) -> None:
    models = ["/v2/models/small", "/v2/models/small/versions/3"]
    read = ["/v2", "/v2/health/live", "/v2/health/ready", "/metrics"]
    read += [base + path for base in models for path in ("", "/ready")]
    assert sorted(routes) == sorted(
        [(method, path) for path in read for method in ("GET", "HEAD")] + [("POST", f"{base}/infer") for base in models]
    )


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"bearer {TOKEN}x",
        f"Bearer  {TOKEN}",
        TOKEN,
        f"Basic {TOKEN}",
        b"\xe9",
    ],
)
def test_no_route_answers_without_the_right_token(server: Server, routes: Any, authorization: Any) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path in [*routes, *(("GET", path) for path in NO_ROUTES), ("DELETE", "/v2"), ("OPTIONS", INFER)]:
        response = requests.request(method, server.url + path, headers=headers, data=body(), timeout=30)
        assert (method, path, response.status_code) == (method, path, 401)
        assert not response.content if method == "HEAD" else set(response.json()) == {"error"}


def test_every_route_answers_with_the_right_token(server: Server, routes: Any) -> None:
    for method, path in routes:
        response = server.ask(method, path, data=body() if method == "POST" else None)
        assert (path, response.status_code) == (path, 200)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_name_of_the_scheme_may_be_in_any_case(server: Server, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {TOKEN}"}
    assert requests.get(server.url + "/v2", headers=headers, timeout=30).status_code == 200


def test_a_body_may_be_compressed_and_one_that_is_a_bomb_is_refused(server: Server) -> None:
    packed = {"Content-Encoding": "gzip"}
    assert server.ask("POST", INFER, data=gzip.compress(body()), headers=packed).status_code == 200
    bomb = gzip.compress(b" " * 300_000_000)
    assert server.ask("POST", INFER, data=bomb, headers=packed).status_code == 413
    assert server.ask("POST", INFER, data=body(), headers={"Content-Encoding": "br"}).status_code == 415


@pytest.mark.parametrize("path", NO_ROUTES)
def test_an_unknown_route_says_what_this_server_has(server: Server, path: Any) -> None:
    response = server.ask("GET", path)
    assert response.status_code == 404
    assert response.json() == {"error": "no such route; this server serves model 'small', version '3'"}


def test_the_server_says_that_it_lives_is_ready_and_what_it_takes(server: Server) -> None:
    assert server.ask("GET", "/v2/health/live").json() == {"live": True}
    assert server.ask("GET", "/v2/models/small/ready").json() == {"ready": True}
    said = server.ask("GET", "/v2/models/small").json()
    assert (said["name"], said["versions"]) == ("small", ["3"])
    assert {entry["name"]: entry["datatype"] for entry in said["inputs"]} == {
        "distance": "FP64",
        "origin": "BYTES",
        "night": "BOOL",
        "id": "BYTES",
        "at": "BYTES",
    }
    assert said["outputs"] == [{"name": "prediction", "datatype": "FP64", "shape": [-1]}]


@pytest.mark.parametrize("path", [INFER, "/v2/models/small/versions/3/infer"])
def test_an_answer_names_who_predicted_and_stands_in_the_log_as_it_was_given(server: Server, path: Any) -> None:
    missing = {feature["name"]: {"data": [None] * 3} for feature in FEATURES}
    response = server.ask("POST", path, json={**request(3, **missing), "id": f"mine {path}"})
    answer = response.json()
    assert (response.status_code, answer["id"], answer["model_version"]) == (200, f"mine {path}", "3")
    own_id = response.headers["x-request-id"]
    assert answer["parameters"] == {"release": "production@7", "server_request_id": own_id}
    assert own_id != answer["id"]
    (output,) = answer["outputs"]
    assert (output["name"], output["shape"], output["datatype"]) == ("prediction", [3], "FP64")
    assert all(0 < value < 1 for value in output["data"])
    entry = server.logged()[answer["id"]]
    assert entry.pop("received") > 1.5e9
    assert entry == {
        "request_id": answer["id"],
        "server_request_id": own_id,
        "version": "3",
        "release": "production@7",
        "keys": ["flight-1"] * 3,
        "event_times": ["2013-06-01T08:00:00"] * 3,
        "features": {feature["name"]: [None] * 3 for feature in FEATURES},
        "predictions": output["data"],
    }


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"distance": {"data": ["far"]}}, "input 'distance', row 0: 'far' is not a number"),
        ({"origin": None}, "missing input(s): origin"),
        ({"id": None}, "missing input(s): id"),
        ({"at": {"data": ["soon"]}}, "input 'at'"),
        ({"origin": {"data": ["\ud800"]}}, "surrogates not allowed"),
    ],
)
def test_wrong_values_are_refused_by_name_and_not_logged(server: Server, changes: Any, named: str) -> None:
    before = set(server.logged())
    response = server.infer(**changes)
    assert response.status_code == 400
    assert named in response.json()["error"]
    assert set(server.logged()) == before


@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(server: Server, in_chunks: bool) -> None:
    content = b" " * 20_001
    response = server.ask("POST", INFER, data=iter([content]) if in_chunks else content)
    assert response.status_code == 413
    assert "exceeds 20000 bytes; send fewer rows" in response.json()["error"]


def test_model_code_that_raises_costs_one_answer_and_not_the_server(fitted_server: Server) -> None:
    response = fitted_server.infer(distance={"data": [666]})
    assert response.status_code == 500
    assert "the devil is in the data" in response.json()["error"]
    assert fitted_server.infer().status_code == 200


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_a_method_that_a_route_does_not_take_is_refused_with_those_it_takes(server: Server, method: str) -> None:
    response = server.ask(method, INFER)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json() == {"error": f"this route takes POST, not {method}"}


def test_metrics_count_requests_by_code_latency_predictions_and_missing_values(fitted_server: Server) -> None:
    server = fitted_server

    def counted() -> Any:
        return [
            server.count('evergreen_requests_total{code="200"}'),
            server.count('evergreen_requests_total{code="400"}'),
            server.count('evergreen_requests_total{code="413"}'),
            server.count('evergreen_requests_total{code="500"}'),
            server.count("evergreen_request_seconds_count"),
            server.count('evergreen_request_seconds_bucket{le="+Inf"}'),
            server.count("evergreen_prediction_count"),
            server.count('evergreen_prediction_bucket{le="1.0"}'),
            server.count("evergreen_rows_total"),
            server.count('evergreen_missing_values_total{feature="origin"}'),
        ]

    before = counted()
    server.infer(rows=4, origin={"data": ["EWR", None, None, None]})
    server.infer(rows=2)
    server.infer(distance=None)
    server.ask("POST", INFER, data=b" " * 20_001)
    server.infer(distance={"data": [666]})
    assert [after - was for after, was in zip(counted(), before, strict=True)] == [2, 1, 1, 1, 5, 5, 6, 6, 6, 3]


def test_each_metric_says_which_model_version_and_environment_it_is_of(server: Server) -> None:
    lines = [line for line in server.metrics().splitlines() if line.startswith("evergreen_")]
    assert lines
    for line in lines:
        for label in ('model="small"', 'version="3"', 'environment="production"'):
            assert label in line
    (info,) = [line for line in lines if line.startswith("evergreen_model_info")]
    assert 'build="b1"' in info and 'release="production@7"' in info


def test_a_server_that_is_stopped_answers_what_it_has_begun_and_ends_well(tmp_path: Path, bundle: Any) -> None:
    code = Path(bundle["model"]["code"])
    slow = []
    with start_server(tmp_path, bundle) as server, clients_of(server) as traffic:
        waiting = threading.Thread(target=lambda: slow.append(server.infer(distance={"data": [1000]})))
        waiting.start()
        wait_for((code / "begun").exists, 30, "the slow request to begin")
        wait_for(lambda: len(traffic.answered) >= 20, 30, "20 answers")
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not listens(server.url), 30, "the server to stop listening")
        assert server.process.poll() is None
        (code / "go_on").touch()
        waiting.join()
        assert server.process.wait(30) == 0, server.output.read_text(encoding="utf-8")
    assert slow[0].status_code == 200
    assert not traffic.refused
    assert set(server.logged()) >= {*traffic.answered, slow[0].json()["id"]}


def test_an_artifact_with_another_hash_is_never_served(tmp_path: Path, bundle: Any) -> None:
    config = {**bundle, "sha256": "0" * 64, "port": free_port()}
    process = start_process(tmp_path, config, tmp_path / "output.log")

    def ended() -> Any:
        assert not listens(f"http://127.0.0.1:{config['port']}")
        return process.poll() is not None

    wait_for(ended, SECONDS_TO_START, "the end of the process")
    said = (tmp_path / "output.log").read_text(encoding="utf-8")
    assert process.returncode == MISTAKE
    assert "expected 0000" in said and "Traceback" not in said


def listens(url: Any) -> Any:
    try:
        return bool(requests.get(url, timeout=30).status_code)
    except requests.ConnectionError:
        return False
