"""Start a version in the test environment."""

from __future__ import annotations

from dataclasses import asdict

from airflow.sdk import Context

from evergreen.model_task import VersionInTest
from include.core.json_types import JsonObject


class StartTestServerOperator(VersionInTest):
    """Start the server of a version in the test environment and wait until it is ready; return the server."""

    def execute(self, context: Context) -> JsonObject:
        """Deploy to the test environment, which this run owns until it is cleared."""
        from include.stages.deployment import deploy_to_test

        return asdict(deploy_to_test(self.installation, self.spec, self.version, context["dag_run"].run_id))
