"""Asking for predictions through the gateway, and what of it is in the log."""

from __future__ import annotations

import json
import time

import requests

from include.adapters.serving.inference_request import inference_inputs
from include.settings import settings
from include.stages.installation import open_installation
from tests.traffic import Traffic


def traffic_of(spec, distance: float = 500.0) -> Traffic:
    """Traffic of one client through the gateway."""
    return Traffic(lambda identity: ask(spec, identity, distance))


def ask(spec, identity: str, distance: float = 500.0) -> requests.Response:
    rows = [{"distance": distance, "hour": 8.0, "id": identity, "at": "2013-05-01T08:00:00"}]
    return requests.post(
        f"http://127.0.0.1:{settings().gateway_port}/v2/models/{spec.name}/infer",
        json={"id": identity, "inputs": inference_inputs(spec, rows)},
        headers={"Authorization": f"Bearer {settings().secret('prediction_token')}"},
        timeout=30,
    )


def logged(spec) -> list[str]:
    """Request ids in the prediction log, in all segments."""
    found = []
    open_installation().engine.fetch_predictions(spec.name)
    for path in (settings().prediction_log / spec.name).glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            found.append(json.loads(line)["request_id"])
    return found


def until(condition, seconds: float = 60.0, what: str = "the condition"):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)
