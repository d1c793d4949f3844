"""Prediction requests for flights through the gateway, as an airline's own system would send them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import pandas as pd
import requests

from include.adapters.serving.inference_request import inference_inputs
from include.core.spec import ModelSpec

LARGEST_REQUEST = 50
QUIET_SECONDS, BUSY_SECONDS = 0.2, 0.005
"""Pauses between two background requests: during training, and while a canary needs requests."""


def payload(rows: pd.DataFrame, spec: ModelSpec, request_id: str) -> dict[str, Any]:
    """An Open Inference Protocol v2 request: named columns of shape [n]; missing values are null."""
    columns = [*spec.feature_names, spec.data.key, spec.data.event_time]
    records = [dict(zip(columns, values, strict=True)) for values in rows[columns].itertuples(index=False)]
    return {"id": request_id, "inputs": inference_inputs(spec, records)}


def requests_of(rows: pd.DataFrame, seed: int) -> Iterator[pd.DataFrame]:
    """Split the rows into requests of 1 to 50 rows, mostly small ones; the same seed gives the same split."""
    chance = random.Random(seed)
    start = 0
    while start < len(rows):
        size = chance.choice((1, 2, 5, 20, LARGEST_REQUEST))
        yield rows.iloc[start : start + size]
        start += size


@dataclass
class Traffic:
    """Counts of requests and responses; thread-safe."""

    requests: int = 0
    rows: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    """The first few failures, as messages."""
    seconds: float = 0.0
    """Total seconds of answered requests."""
    versions: dict[str, int] = field(default_factory=dict)
    """Version → number of rows that it predicted."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, rows: int, seconds: float, version: str) -> None:
        """Count one answered request: its rows, its duration, and the version that responded."""
        with self._lock:
            self.requests += 1
            self.rows += rows
            self.seconds += seconds
            self.versions[version] = self.versions.get(version, 0) + rows

    def count_failure(self, reason: str) -> None:
        """Count one request without a prediction."""
        with self._lock:
            self.requests += 1
            self.failed += 1
            if len(self.failures) < 5:
                self.failures.append(reason)

    def as_dict(self) -> dict[str, Any]:
        """The counts for the report, as JSON values; milliseconds are the mean over answered requests."""
        answered = self.requests - self.failed
        return {
            "requests": self.requests,
            "rows": self.rows,
            "failed": self.failed,
            "failures": list(self.failures),
            "mean_milliseconds": round(1000 * self.seconds / answered, 2) if answered else None,
            "versions": dict(self.versions),
        }


class Sender:
    """Sends rows to the model's prediction endpoint."""

    def __init__(self, url: str, token: str, spec: ModelSpec):
        self.url = url
        self.spec = spec
        self.headers = {"Authorization": f"Bearer {token}"}

    def send(self, rows: pd.DataFrame, name: str, seed: int, traffic: Traffic) -> None:
        """Send all rows, one request after another; failures are counted, not raised."""
        with requests.Session() as session:
            session.headers.update(self.headers)
            for number, batch in enumerate(requests_of(rows, seed)):
                self.send_one(session, batch, f"{name}-{number}", traffic)

    def send_one(self, session: requests.Session, rows: pd.DataFrame, request_id: str, traffic: Traffic) -> None:
        """Send one request and count its result. The client does not retry; the gateway does."""
        started = time.perf_counter()
        try:
            response = session.post(self.url, json=payload(rows, self.spec, request_id), timeout=30)
            if response.status_code != 200:
                traffic.count_failure(f"{request_id}: {response.status_code} {response.text[:200]}")
                return
            answer = response.json()
            if len(answer["outputs"][0]["data"]) != len(rows):
                traffic.count_failure(
                    f"{request_id}: {len(answer['outputs'][0]['data'])} predictions for {len(rows)} rows"
                )
                return
        except (requests.RequestException, ValueError, KeyError, IndexError) as error:
            traffic.count_failure(f"{request_id}: {type(error).__name__}: {error}")
            return
        traffic.count(len(rows), time.perf_counter() - started, str(answer.get("model_version")))


class BackgroundTraffic:
    """Sends one-row requests in a thread while the ``with`` block lasts, so that rollouts happen under real traffic.

    Each row is sent once; ``used`` counts them. The thread ends when the rows run out. ``pause`` (seconds between two
    requests) may be changed while it runs.
    """

    def __init__(self, sender: Sender, rows: pd.DataFrame, name: str, traffic: Traffic):
        self.used = 0
        self.pause = QUIET_SECONDS
        self._sender, self._rows, self._name, self._traffic = sender, rows, name, traffic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name="background-traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    def _send(self) -> None:
        with requests.Session() as session:
            session.headers.update(self._sender.headers)
            for row in range(len(self._rows)):
                if self._stop.is_set():
                    return
                batch = self._rows.iloc[row : row + 1]
                self._sender.send_one(session, batch, f"{self._name}-{row}", self._traffic)
                self.used = row + 1
                self._stop.wait(self.pause)
