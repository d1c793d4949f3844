"""Verify a version in the test environment."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import VersionInTest
from include.core.json_types import JsonObject


class VerifyTestServerOperator(VersionInTest):
    """Replay golden examples and measure latency in the test environment; fail unless the verdict passed."""

    def execute(self, context: Context) -> JsonObject:
        """Return the verdict, or raise GateError with it."""
        from include.stages.verification import verify

        return self.require(verify(self.installation, self.spec, self.version), context, "test environment")
