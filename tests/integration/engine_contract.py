"""What the tests of the engines share: an installation with models, builds of commits, and servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from include.adapters.serving.inference_client import InferenceClient
from include.core.spec import ModelSpec
from include.stages import ci as checks
from include.stages.installation import open_installation
from tests.support.serving import MODEL_CODE, Serving
from tests.support.shared_serving import serving_with
from tests.support.waiting import wait_for

GOOD_TEST = "from model import estimator\n\n\ndef test_it_builds():\n    assert estimator()\n"


def contract_place(engine: str, request: pytest.FixtureRequest) -> Iterator[Serving]:
    """The installation of these tests; other modules of the same group use it, too."""
    environments = request.config.cache.mkdir("environments")
    with serving_with(engine, environments, request.getfixturevalue("until_group_ends")) as serving:
        yield serving


def server(spec: ModelSpec, version: str = "1") -> InferenceClient:
    """The server, as soon as it is ready."""

    def ready() -> str:
        found = open_installation().engine.servers(spec.name, "production")[version]
        assert found.state != "broken", open_installation().engine.log_tail(spec.name, "production", version)
        return found.address if found.state == "ready" else ""

    return InferenceClient(
        spec.name, wait_for(ready, 60, "the server"), open_installation().settings.secret("prediction_token")
    )


def build_of(place: Serving, files: dict[str, str], **changes: Any) -> tuple[ModelSpec, str]:
    """A build of a commit with these files beside the model's code; its spec and id."""
    model = {"model.py": MODEL_CODE, "requirements.txt": "scikit-learn==1.9.1\n", "tests/test_model.py": GOOD_TEST}
    place.git.commit_only({**model, "count": str(time.time_ns()), **files})
    spec = place.template.model_copy(update={"training": place.template.training.model_copy(update=changes)})
    installation = open_installation()
    return spec, checks.build_environment(installation, spec, checks.check_out_commit(installation, spec)).build_id


def rows(distance: float = 500.0) -> list[dict[str, Any]]:
    """One row of a request."""
    return [{"distance": distance, "hour": 8.0, "id": "x", "at": "2013-05-01T08:00:00"}]
