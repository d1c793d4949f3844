"""Give a version its first share of production's traffic."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.links import ModelLink, RolloutLink
from evergreen.model_task import PRODUCTION, ModelTask
from evergreen.release_summary import ReleaseSummary, release_summary
from include.core.json_types import JsonObject


class StartCanaryOperator(ModelTask):
    """Route the first share of production's traffic to a version; return the release.

    :param model: name of the model.
    :param version: version in the registry.
    :param replayed: what replay_in_test returned, if there is such a task.
    :param overridden: why promotion refused the version; empty if it did not.
    """

    inputs = ("version", "replayed", "overridden")
    ui_color = PRODUCTION
    operator_extra_links = (ModelLink(), RolloutLink())
    version: str
    replayed: JsonObject | None = None
    overridden: str = ""

    def execute(self, context: Context) -> ReleaseSummary:
        """Start or resume this run's canary."""
        from include.stages.deployment import start_canary

        run = context["dag_run"].run_id
        shadowed = bool(self.replayed and self.replayed["answer"] == "pass")
        started = start_canary(
            self.installation, self.spec, self.version, run, shadowed=shadowed, overridden=self.overridden
        )
        return release_summary(started)
