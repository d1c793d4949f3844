"""Replay production's newest logged requests into a version in the test environment."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import TEST, ModelTask
from include.core.errors import GateError
from include.core.json_types import JsonObject


class ReplayRequestsOperator(ModelTask):
    """Send ``deployment.shadow.requests`` logged requests to the version; fail if the verdict failed.

    A verdict of hold (too few logged requests) lets the canary begin, but does not stand for its traffic.

    :param model: name of the model.
    :param version: version in the registry.
    """

    inputs = ("version",)
    ui_color = TEST
    version: str

    def execute(self, context: Context) -> JsonObject:
        """Return the verdict, or raise GateError with it."""
        from include.stages.shadow import replay_requests

        verdict = replay_requests(self.installation, self.spec, self.version)
        self.log.info("%s", verdict)
        if verdict.answer == "fail":
            raise GateError(
                f"{self.model} version {self.version} failed the replay of logged requests, and production is "
                f"unchanged: {verdict}."
            )
        return verdict.as_dict()
