"""Verify a version in the test environment."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import TEST, ModelTask
from include.core.errors import GateError
from include.core.json_types import JsonObject


class VerifyTestServerOperator(ModelTask):
    """Replay golden examples and measure latency in the test environment; fail unless the verdict passed.

    :param model: name of the model.
    :param version: version in the registry.
    """

    inputs = ("version",)
    ui_color = TEST
    version: str

    def execute(self, context: Context) -> JsonObject:
        """Return the verdict, or raise GateError with it."""
        from include.stages.deployment import verify

        verdict = verify(self.installation, self.spec, self.version)
        self.log.info("%s", verdict)
        if not verdict.passed:
            raise GateError(
                f"{self.model} version {self.version} failed in the test environment, and production is unchanged: "
                f"{verdict}. Correct the model, or deployment in model.yaml; then train a new version, or run "
                f"{self.model}.deployment with version {self.version} again."
            )
        return verdict.as_dict()
