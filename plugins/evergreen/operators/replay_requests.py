"""Replay production's newest logged requests into a version in the test environment."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import VersionInTest
from include.core.json_types import JsonObject


class ReplayRequestsOperator(VersionInTest):
    """Send ``deployment.shadow.requests`` logged requests to the version; fail if the verdict failed.

    A verdict of hold (too few logged requests) lets the canary begin, but does not replace its traffic.
    """

    def execute(self, context: Context) -> JsonObject:
        """Return the verdict, or raise GateError with it."""
        from include.stages.shadow import replay_requests

        return self.require(
            replay_requests(self.installation, self.spec, self.version), context, "replay", ("pass", "hold")
        )
