"""Prediction requests: the protocol's form, every row once, and failures counted rather than raised."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pandas as pd
import pytest

from demo.traffic import BackgroundTraffic, Sender, Traffic, payload, requests_of
from include.adapters.spec_file import load_spec
from include.settings import PROJECT

SPEC = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")


@pytest.fixture
def rows() -> pd.DataFrame:
    count = 120
    values = {"integer": 3, "number": 1.5, "category": "EWR", "boolean": True}
    frame = pd.DataFrame({feature.name: [values[feature.type]] * count for feature in SPEC.features})
    frame["flight_id"] = [f"flight-{number}" for number in range(count)]
    frame["scheduled_departure"] = pd.Timestamp("2013-05-17T09:15:00")
    return frame


@pytest.fixture
def server() -> Iterator[Any]:
    """A prediction endpoint that keeps what it was sent; ``status`` says how it answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            endpoint.seen.append((self.headers["Authorization"], body))
            count = body["inputs"][0]["shape"][0] if endpoint.whole else 0
            answer = {"model_version": "3", "outputs": [{"name": "prediction", "data": [0.5] * count}]}
            content = json.dumps(answer).encode()
            self.send_response(endpoint.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    endpoint: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.seen, endpoint.status, endpoint.whole = [], 200, True
    thread = threading.Thread(target=endpoint.serve_forever)
    thread.start()
    yield endpoint
    endpoint.shutdown()
    thread.join()
    endpoint.server_close()


def sender_to(server: Any) -> Sender:
    return Sender(f"http://127.0.0.1:{server.server_port}/v2/models/flights/infer", "secret", SPEC)


def test_a_request_names_every_column_with_its_type_and_nulls_for_missing_values(rows: pd.DataFrame) -> None:
    rows.loc[1, ["temperature", "carrier"]] = None
    sent = json.loads(json.dumps(payload(rows.head(2), SPEC, "one"), allow_nan=False))
    columns = {column["name"]: column for column in sent["inputs"]}
    assert sent["id"] == "one"
    assert list(columns) == [*SPEC.feature_names, "flight_id", "scheduled_departure"]
    assert columns["temperature"] == {"name": "temperature", "shape": [2], "datatype": "FP64", "data": [1.5, None]}
    assert columns["carrier"]["data"] == ["EWR", None]
    assert columns["day_of_week"]["datatype"] == "INT64"
    assert columns["scheduled_departure"]["data"][0] == "2013-05-17T09:15:00"


def test_requests_hold_every_row_once_in_at_most_fifty_and_repeat_with_the_seed(rows: pd.DataFrame) -> None:
    parts = list(requests_of(rows, seed=5))
    assert pd.concat(parts).index.tolist() == rows.index.tolist()
    assert all(1 <= len(part) <= 50 for part in parts)
    assert [len(part) for part in parts] == [len(part) for part in requests_of(rows, seed=5)]


def test_answered_requests_are_counted_with_the_version(rows: pd.DataFrame, server: Any) -> None:
    traffic = Traffic()
    sender_to(server).send(rows, "may", seed=1, traffic=traffic)
    assert traffic.rows == 120 and traffic.failed == 0
    assert traffic.versions == {"3": 120}
    assert {authorization for authorization, _ in server.seen} == {"Bearer secret"}
    assert len({body["id"] for _, body in server.seen}) == traffic.requests


@pytest.mark.parametrize(("status", "whole", "reason"), [(503, True, "503"), (200, False, "0 predictions for")])
def test_refused_and_short_answers_are_failures(
    rows: pd.DataFrame, server: Any, status: int, whole: bool, reason: str
) -> None:
    server.status, server.whole = status, whole
    traffic = Traffic()
    sender_to(server).send(rows.head(3), "may", seed=1, traffic=traffic)
    assert traffic.failed == traffic.requests > 0
    assert reason in traffic.failures[0]


def test_a_gateway_that_is_gone_is_a_failure_and_no_exception(rows: pd.DataFrame) -> None:
    traffic = Traffic()
    Sender("http://127.0.0.1:9/v2/models/flights/infer", "secret", SPEC).send(rows.head(1), "may", 1, traffic)
    assert traffic.as_dict()["failed"] == 1


def test_background_traffic_sends_each_row_once_and_ends_with_the_block(rows: pd.DataFrame, server: Any) -> None:
    traffic = Traffic()
    with BackgroundTraffic(sender_to(server), rows, "canary", traffic) as background:
        background.pause = 0.0
        background._thread.join(timeout=30)
    assert not background._thread.is_alive()
    assert background.used == traffic.requests == 120
    keys = [body["inputs"][-2]["data"][0] for _, body in server.seen]
    assert sorted(keys) == sorted(rows["flight_id"])
