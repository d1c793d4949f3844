"""Client of one model server: readiness, metrics, and predictions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import requests
from prometheus_client.parser import text_string_to_metric_families

from include.core.errors import EvergreenError, GateError, PlatformError
from include.core.release.server_figures import ServerFigures
from include.core.release.verification import LoadTest
from include.core.spec import ModelSpec


class InferenceClient:
    """Client of an Open Inference Protocol v2 server at ``address`` (host:port), with its bearer token."""

    def __init__(self, model: str, address: str, token: str):
        self.model = model
        self.address = address
        self._token = token
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"

    def ready(self) -> bool:
        """Whether the server has loaded its model and accepts requests."""
        try:
            return self._session.get(f"http://{self.address}/v2/health/ready", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def figures(self) -> ServerFigures:
        """The server's counters since it started; raises PlatformError if it does not respond."""
        try:
            response = self._session.get(f"http://{self.address}/metrics", timeout=5)
            response.raise_for_status()
        except requests.RequestException as error:
            raise PlatformError(f"{self.model}: the server at {self.address} returns no metrics: {error}") from error
        return parse_figures(response.text)

    def predict(self, spec: ModelSpec, rows: Sequence[Mapping[str, object]], request_id: str) -> list[float]:
        """Predictions for the rows; raises GateError with the server's message if it refuses them."""
        from include.adapters.serving.inference_request import inference_inputs  # imports pandas

        body = {"id": request_id, "inputs": inference_inputs(spec, rows)}
        url = f"http://{self.address}/v2/models/{self.model}/infer"
        try:
            response = self._session.post(url, json=body, timeout=30)
        except requests.RequestException as error:
            raise PlatformError(f"{self.model}: the server at {self.address} does not respond: {error}") from error
        if response.status_code != 200:
            raise GateError(f"{self.model}: the server responded with {response.status_code}: {response.text[:500]}")
        return [float(value) for value in response.json()["outputs"][0]["data"]]

    def time_requests(
        self, spec: ModelSpec, rows: Sequence[Mapping[str, object]], count: int, clients: int
    ) -> LoadTest:
        """Send ``count`` one-row requests from ``clients`` concurrent clients; any status but 200 is a failure."""
        numbers = iter(range(count))

        def client(_: int) -> tuple[list[float], list[str]]:
            seconds, failures = [], []
            own = InferenceClient(self.model, self.address, self._token)
            for number in numbers:
                start = time.perf_counter()
                try:
                    own.predict(spec, [rows[number % len(rows)]], f"load-{number}")
                    seconds.append(time.perf_counter() - start)
                except EvergreenError as error:
                    failures.append(str(error))
            return seconds, failures

        with ThreadPoolExecutor(clients) as pool:
            results = list(pool.map(client, range(clients)))
        return LoadTest(
            sorted(second for seconds, _ in results for second in seconds),
            [failure for _, failures in results for failure in failures],
        )


def parse_figures(text: str) -> ServerFigures:
    """Parse the counters on a server's metrics page."""
    requests_total, errors, refused, rows, started = 0.0, 0.0, 0.0, 0.0, 0.0
    latency: dict[str, float] = {}
    predictions: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "evergreen_requests_total":
                requests_total += sample.value
                if sample.labels["code"].startswith("5"):
                    errors += sample.value
                elif sample.labels["code"].startswith("4"):
                    refused += sample.value
            elif sample.name == "evergreen_rows_total":
                rows += sample.value
            elif sample.name == "evergreen_request_seconds_bucket":
                latency[sample.labels["le"]] = latency.get(sample.labels["le"], 0) + sample.value
            elif sample.name == "evergreen_prediction_bucket":
                predictions[sample.labels["le"]] = predictions.get(sample.labels["le"], 0) + sample.value
            elif sample.name == "process_start_time_seconds":
                started = sample.value
    return ServerFigures(int(requests_total), int(errors), latency, predictions, started, int(refused), int(rows))
