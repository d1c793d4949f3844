"""Verifies a version in the test environment: the same predictions as in training, in time, and without failures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from include.adapters.engines.contract import RunningServer
from include.adapters.serving.inference_client import InferenceClient
from include.core.errors import GateError, PlatformError
from include.core.release.verification import judge_verification
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.stages.installation import Installation

LATENCY_REQUESTS = 30


def verify(installation: Installation, spec: ModelSpec, version: str) -> Verdict:
    """Replay the golden examples in the test environment, and check latency and failures under load."""
    client = client_in_test(installation, spec, version)
    bundle = installation.registry.fetch(spec.name, version)
    golden = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))
    own = installation.registry.spec(spec, version)
    predicted = client.predict(own, golden["inputs"], f"golden-{version}")
    _predict_without_optional_inputs(client, spec, own, golden["inputs"])
    limits = spec.deployment
    alone = client.time_requests(own, golden["inputs"], LATENCY_REQUESTS, clients=1)
    loaded = client.time_requests(own, golden["inputs"], limits.load_requests, limits.load_clients)
    return judge_verification(limits, predicted, golden["predictions"], alone, loaded)


def client_in_test(installation: Installation, spec: ModelSpec, version: str) -> InferenceClient:
    """A client of the version's server in the test environment; PlatformError if it is not ready."""
    server = installation.engine.servers(spec.name, "test").get(version)
    if server is None or server.state != "ready":
        raise PlatformError(
            f"{spec.name} version {version} is not ready in the test environment. Clear deploy_to_test."
        )
    return client_of(installation, spec, server)


def _predict_without_optional_inputs(
    client: InferenceClient, spec: ModelSpec, own: ModelSpec, rows: Sequence[Mapping[str, object]]
) -> None:
    today = datetime.now(UTC).date()
    absent = {name for name, until in spec.optional_inputs.items() if name in own.feature_names and today <= until}
    sent = own.model_copy(update={"features": [each for each in own.features if each.name not in absent]})
    if not absent or not sent.features:
        return
    try:
        client.predict(sent, rows, "without-optional-inputs")
    except GateError as error:
        raise GateError(
            f"{error}. This was a request without the optional inputs {', '.join(sorted(absent))}: let the estimator "
            "accept missing values in them, or remove them from optional_inputs in model.yaml."
        ) from error


def client_of(installation: Installation, spec: ModelSpec, server: RunningServer) -> InferenceClient:
    """A client of one model server."""
    return InferenceClient(spec.name, server.address, installation.settings.secret("prediction_token"))
