"""Airflow's REST API against a real local server that answers as Airflow does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

from demo.airflow_client import AirflowClient, AirflowError, RunFailedError

RUN = "asset_triggered__2013-05-01T00:00:00+00:00_x/y"


@pytest.fixture
def airflow() -> Iterator[Any]:
    """``answers``: (method, path) → list of (status, body), the last one stays; ``asked``: what came."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            server.asked.append((self.command, self.path, body, self.headers.get("Authorization")))
            answers = server.answers.get((self.command, unquote(self.path)), [(404, {"detail": "not found"})])
            status, content = answers.pop(0) if len(answers) > 1 else answers[0]
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer

        def log_message(self, *_: Any) -> None:
            pass

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.answers = {("POST", "/auth/token"): [(201, {"access_token": "one"}), (201, {"access_token": "two"})]}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(airflow: Any) -> AirflowClient:
    return AirflowClient(f"http://127.0.0.1:{airflow.server_port}", "admin", "secret")


def path_of(dag: str, run: str = "", rest: str = "") -> str:
    return f"/api/v2/dags/{dag}/dagRuns" + (f"/{run}" if run else "") + rest


def test_it_logs_in_once_and_again_when_the_token_is_over(airflow: Any, client: AirflowClient) -> None:
    airflow.answers["GET", path_of("flights.ci", "r")] = [
        (200, {"state": "running"}),
        (401, {}),
        (200, {"state": "success"}),
    ]
    assert client.run("flights.ci", "r")["state"] == "running"
    assert client.run("flights.ci", "r")["state"] == "success"
    log_ins = [body for method, path, body, _ in airflow.asked if path == "/auth/token"]
    assert log_ins == [{"username": "admin", "password": "secret"}] * 2
    assert airflow.asked[-1][3] == "Bearer two"


def test_run_ids_are_encoded(airflow: Any, client: AirflowClient) -> None:
    airflow.answers["GET", path_of("flights.ci", RUN)] = [(200, {"state": "success"})]
    assert client.run("flights.ci", RUN)
    assert airflow.asked[-1][1].endswith("asset_triggered__2013-05-01T00%3A00%3A00%2B00%3A00_x%2Fy")


def test_a_run_that_is_not_there_is_none(client: AirflowClient, airflow: Any) -> None:
    assert client.run("flights.ci", "nothing") is None


def test_triggering_again_finds_the_run_that_is_there(airflow: Any, client: AirflowClient) -> None:
    airflow.answers["GET", path_of("flights.monitoring", "demo__2013-05")] = [(404, {}), (200, {"state": "running"})]
    airflow.answers["POST", path_of("flights.monitoring")] = [(200, {"state": "queued"})]
    assert client.trigger("flights.monitoring", "demo__2013-05", {"window": "2013-05"})["state"] == "queued"
    assert client.trigger("flights.monitoring", "demo__2013-05", {"window": "2013-05"})["state"] == "running"
    posted = [body for method, path, body, _ in airflow.asked if method == "POST" and "dagRuns" in path]
    assert len(posted) == 1
    assert posted[0]["conf"] == {"window": "2013-05"} and posted[0]["logical_date"] is None


def test_it_waits_for_the_run_that_an_event_started(airflow: Any, client: AirflowClient) -> None:
    runs = {"dag_runs": [{"dag_run_id": name, "start_date": "2026-01-01"} for name in ("other", "wanted")]}
    listing = path_of("flights.training") + "?order_by=-run_after&limit=20"
    airflow.answers["GET", listing] = [(200, {"dag_runs": []}), (200, runs)]
    for run, source in {"other": "ci-1", "wanted": "ci-2"}.items():
        airflow.answers["GET", path_of("flights.training", run, "/upstreamAssetEvents")] = [
            (200, {"asset_events": [{"source_run_id": source}]})
        ]
    found = client.await_caused("flights.training", lambda event: event["source_run_id"] == "ci-2", 10, "ci-2")
    assert found["dag_run_id"] == "wanted"


def test_waiting_ends_with_what_was_waited_for(airflow: Any, client: AirflowClient) -> None:
    airflow.answers["GET", path_of("flights.ci", "r")] = [(200, {"state": "running"})]
    with pytest.raises(AirflowError, match="the end of flights.ci r"):
        client.await_end("flights.ci", "r", timeout=0.3)


def test_a_failed_run_names_the_task_and_the_end_of_its_log(airflow: Any, client: AirflowClient) -> None:
    airflow.answers["GET", path_of("flights.ci", "r")] = [(200, {"state": "failed"})]
    tasks = [
        {"task_id": "lint", "state": "success"},
        {"task_id": "test", "state": "failed", "try_number": 2},
        {"task_id": "record_build", "state": "upstream_failed"},
    ]
    airflow.answers["GET", path_of("flights.ci", "r", "/taskInstances?limit=100")] = [(200, {"task_instances": tasks})]
    entries: list[dict[str, Any]] = [{"event": "::group::Log"}, *({"event": f"line {n}"} for n in range(60))]
    entries.append({"event": "Task failed", "error_detail": [{"exc_type": "BuildError", "exc_value": "1 test failed"}]})
    log = path_of("flights.ci", "r", "/taskInstances/test/logs/2?full_content=true")
    airflow.answers["GET", log] = [(200, {"content": entries})]
    with pytest.raises(RunFailedError) as raised:
        client.await_end("flights.ci", "r", timeout=5)
    message = str(raised.value)
    assert "flights.ci, run r" in message and "Task test (attempt 2)" in message
    assert "BuildError: 1 test failed" in message
    assert "line 59" in message and "line 5\n" not in message


def test_a_green_run_with_a_failed_task_is_a_failure(airflow: Any, client: AirflowClient) -> None:
    """Deployment rolls back after a failure, and Airflow then calls the run a success."""
    airflow.answers["GET", path_of("flights.deployment", "r")] = [(200, {"state": "success"})]
    tasks = [
        {"task_id": "verify_in_test", "state": "failed", "try_number": 1},
        {"task_id": "restore", "state": "success"},
    ]
    listing = path_of("flights.deployment", "r", "/taskInstances?limit=100")
    airflow.answers["GET", listing] = [(200, {"task_instances": tasks})]
    with pytest.raises(RunFailedError, match="Task verify_in_test"):
        client.await_end("flights.deployment", "r", timeout=5)


def test_a_run_whose_tasks_succeeded_or_were_skipped_is_no_failure(airflow: Any, client: AirflowClient) -> None:
    airflow.answers["GET", path_of("flights.retraining", "r")] = [(200, {"state": "success"})]
    tasks = [{"task_id": "degraded_health", "state": "skipped"}, {"task_id": "other", "state": "success"}]
    listing = path_of("flights.retraining", "r", "/taskInstances?limit=100")
    airflow.answers["GET", listing] = [(200, {"task_instances": tasks})]
    assert client.await_end("flights.retraining", "r", timeout=5)["state"] == "success"


def test_results_come_as_values_and_missing_ones_as_none(airflow: Any, client: AirflowClient) -> None:
    entry = path_of("flights.training", "r", "/taskInstances/register/xcomEntries/return_value?deserialize=false")
    airflow.answers["GET", entry] = [(200, {"value": '{"version": "2"}'})]
    assert client.result("flights.training", "r", "register") == {"version": "2"}
    assert client.result("flights.training", "r", "skipped") is None


def test_refusals_carry_what_airflow_said(airflow: Any, client: AirflowClient) -> None:
    airflow.answers["POST", path_of("flights.ci")] = [(422, {"detail": "conf is wrong"})]
    with pytest.raises(AirflowError, match="422.*conf is wrong"):
        client.trigger("flights.ci", "r", {})


def test_an_airflow_that_is_gone_is_named_with_the_remedy() -> None:
    with pytest.raises(AirflowError, match="make status"):
        AirflowClient("http://127.0.0.1:9", "admin", "secret").run("flights.ci", "r")
