"""The test environment: start a version there, verify it, and clear the place again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from airflow.sdk import BaseOperator

from evergreen.model_dags import spec_of
from include.core.errors import GateError


class DeployToTestOperator(BaseOperator):
    """Start a version in the test environment and wait until it is ready; returns the server.

    :param model: name of the model.
    :param version: version in the registry.
    """

    template_fields = ("version",)
    ui_color = "#f4efdc"

    def __init__(self, *, model: str, version: str, **arguments: Any):
        super().__init__(**arguments)
        self.model = model
        self.version = version

    def execute(self, context: Any) -> dict[str, Any]:
        from include.stages import deployment
        from include.stages.installation import open_installation

        return asdict(
            deployment.deploy_to_test(open_installation(), spec_of(self.model), self.version, context["dag_run"].run_id)
        )


class VerifyInTestOperator(BaseOperator):
    """Replay golden examples and measure latency in the test environment; fails unless the verdict is pass.

    :param model: name of the model.
    :param version: version in the registry.
    """

    template_fields = ("version",)
    ui_color = "#f4efdc"

    def __init__(self, *, model: str, version: str, **arguments: Any):
        super().__init__(**arguments)
        self.model = model
        self.version = version

    def execute(self, context: Any) -> dict[str, Any]:
        from include.stages import deployment
        from include.stages.installation import open_installation

        verdict = deployment.verify(open_installation(), spec_of(self.model), self.version)
        self.log.info("%s", verdict)
        if not verdict.passed:
            raise GateError(f"{self.model} version {self.version} failed in the test environment: {verdict}")
        return verdict.as_dict()


class ClearTestOperator(BaseOperator):
    """Stop what this run has in the model's test environment.

    :param model: name of the model.
    """

    ui_color = "#f4efdc"

    def __init__(self, *, model: str, **arguments: Any):
        super().__init__(**arguments)
        self.model = model

    def execute(self, context: Any) -> None:
        from include.stages import deployment
        from include.stages.installation import open_installation

        deployment.clear_test(open_installation(), spec_of(self.model), context["dag_run"].run_id)
