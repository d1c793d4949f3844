"""Airflow's own metrics, as compose.yaml tells the scheduler to send them: what arrives where Prometheus listens.

The Prometheus of Debian is too old to receive them, so that a small server stands in its place.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import yaml
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.conftest import PROJECT

pytestmark = pytest.mark.integration
PROGRAM = """
from airflow._shared.observability.metrics import stats
from airflow.observability.metrics import stats_utils
from opentelemetry import metrics

stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
stats.incr("scheduler_heartbeat", 1, 1)
metrics.get_meter_provider().force_flush()
"""
"""What the scheduler does when it starts, and at each heartbeat."""


@pytest.fixture
def receiver() -> Iterator[Any]:
    """A server on a free port, and what it was sent: path, header and body of each request."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers.get("Authorization"), body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, received
    server.shutdown()


def test_the_schedulers_metrics_arrive_with_the_password_and_say_whose_they_are(receiver: Any) -> None:
    port, received = receiver
    services = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    said = services["airflow-scheduler"]["environment"]
    mine = {name: value for name, value in said.items() if name.startswith(("OTEL_", "AIRFLOW__METRICS__"))}
    endpoint = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
    mine[endpoint] = (
        mine[endpoint].replace("${PROMETHEUS_PASSWORD}", "secret-1").replace("prometheus:9090", f"127.0.0.1:{port}")
    )
    mine["AIRFLOW__METRICS__OTEL_ON"] = "True"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **mine},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = set()
    for path, login, body in received:
        assert path == "/api/v1/otlp/v1/metrics"
        assert login == "Basic " + base64.b64encode(b"admin:secret-1").decode()
        (sent,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
        whose = {attribute.key: attribute.value.string_value for attribute in sent.resource.attributes}
        assert (whose["service.name"], whose["service.instance.id"]) == ("airflow", "scheduler")
        names |= {metric.name for scope in sent.scope_metrics for metric in scope.metrics}
    assert "airflow.scheduler_heartbeat" in names
