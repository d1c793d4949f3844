"""Prediction requests that go on while something happens, and what their clients saw."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from json import dumps
from typing import Any
from urllib.parse import urlsplit

import requests

from include.adapters.serving.inference_request import inference_inputs
from include.core.spec import ModelSpec
from include.stages.installation import open_installation


class Traffic:
    """Clients that send one prediction request after another until they are stopped; none is sent twice."""

    def __init__(self, send: Callable[[str], requests.Response], pause: float = 0.0, clients: int = 1) -> None:
        """``send`` asks for a prediction with the request id that it is given; ``pause`` is in seconds."""
        self._send, self._pause = send, pause
        self.answered: dict[str, str] = {}
        """Request id → the version that answered."""
        self.predictions: dict[str, list[float]] = {}
        """Request id → the predictions that it got."""
        self.refused: list[str] = []
        """Responses other than 200: status and the start of the body."""
        self.unanswered: list[str] = []
        """Connections that were refused or broken."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._go_on, daemon=True) for _ in range(clients)]

    @property
    def failures(self) -> list[str]:
        """What went wrong for a client that does not ask again."""
        return [*self.refused, *self.unanswered]

    @property
    def versions(self) -> Counter[str]:
        """How often each version answered."""
        return Counter(list(self.answered.values()))

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _go_on(self) -> None:
        while not self._stop.wait(self._pause):
            identity = f"traffic-{uuid.uuid4().hex}"
            try:
                response = self._send(identity)
            except requests.RequestException as error:
                self.unanswered.append(repr(error))
                self._stop.wait(0.01)
                continue
            if response.status_code == 200:
                content = response.json()
                self.predictions[identity] = content["outputs"][0]["data"]
                self.answered[identity] = content["model_version"]
            else:
                self.refused.append(f"{response.status_code} {response.text[:200]}")


def traffic_of(spec: ModelSpec, distance: float = 500.0) -> Traffic:
    """Traffic of one client through the gateway, for a model of :func:`tests.support.specs.small_spec`."""
    hours = itertools.cycle(range(5, 23))  # the predictions of one row alone say nothing about a release
    return Traffic(lambda identity: ask(spec, identity, distance, next(hours)))


class KeepAlive(threading.local):
    """A connection of each client, which it keeps; much faster than requests, so that more is asked of the servers."""

    connection: http.client.HTTPConnection | None = None

    def post(self, url: str, *, json: Any, headers: Mapping[str, str], timeout: float) -> requests.Response:
        """Send one request, never twice; raises requests.ConnectionError."""
        parts = urlsplit(url)
        if self.connection is None:
            self.connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
        answer = requests.Response()
        try:
            self.connection.request("POST", parts.path, dumps(json), {**headers, "Content-Type": "application/json"})
            with self.connection.getresponse() as response:
                answer.status_code, answer._content = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self.connection = None
            raise requests.ConnectionError(repr(error)) from error
        return answer


def keep_alive_traffic_of(spec: ModelSpec, clients: int) -> Traffic:
    """The same of several clients, each of which keeps its connection."""
    hours, session = itertools.cycle(range(5, 23)), KeepAlive()
    return Traffic(lambda identity: ask(spec, identity, hour=next(hours), session=session), clients=clients)


def ask(
    spec: ModelSpec,
    identity: str,
    distance: float = 500.0,
    hour: float = 8.0,
    session: KeepAlive | None = None,
) -> requests.Response:
    """One request through the gateway."""
    rows = [{"distance": distance, "hour": float(hour), "id": identity, "at": "2013-05-01T08:00:00"}]
    return (session or requests).post(
        f"http://127.0.0.1:{open_installation().settings.gateway_port}/v2/models/{spec.name}/infer",
        json={"id": identity, "inputs": inference_inputs(spec, rows)},
        headers={"Authorization": f"Bearer {open_installation().settings.secret('prediction_token')}"},
        timeout=30,
    )


def logged(spec: ModelSpec) -> list[str]:
    """Request ids in the prediction log, in all segments."""
    open_installation().engine.fetch_predictions(spec.name)
    segments = (open_installation().settings.prediction_log / spec.name).glob("*.jsonl")
    lines = [line for segment in segments for line in segment.read_text(encoding="utf-8").splitlines()]
    return [json.loads(line)["request_id"] for line in lines]
