"""Give a version its first share of production's traffic."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import PRODUCTION, ModelTask
from evergreen.release_summary import ReleaseSummary, release_summary


class StartCanaryOperator(ModelTask):
    """Route the first share of production's traffic to a version; return the release.

    :param model: name of the model.
    :param version: version in the registry.
    """

    inputs = ("version",)
    ui_color = PRODUCTION
    version: str

    def execute(self, context: Context) -> ReleaseSummary:
        """Start or resume this run's canary."""
        from include.stages.deployment import start_canary

        run = context["dag_run"].run_id
        return release_summary(start_canary(self.installation, self.spec, self.version, run))
