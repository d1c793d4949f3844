"""Roll production back to an earlier release."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import ROLLBACK, ModelTask
from evergreen.notifications import announce
from evergreen.release_summary import ReleaseSummary, release_summary
from evergreen.run_params import params_of
from include.core.run_params import DeploymentParams


class RollBackReleaseOperator(ModelTask):
    """Put an earlier release back into production immediately and update ``<model>/release``; return the release.

    It is the run's param ``to``, else the release on standby.

    :param model: name of the model.
    """

    outlet = "release"
    ui_color = ROLLBACK

    def execute(self, context: Context) -> ReleaseSummary:
        """Roll back, record version and revision in the asset event, and notify people."""
        from include.stages.rollback import roll_back

        to = params_of(context, DeploymentParams).to
        release = roll_back(self.installation, self.spec, context["dag_run"].run_id, to)
        self.log.info("in production: %s", release.champion)
        context["outlet_events"][self.asset].extra = {"version": release.champion, "revision": release.revision}
        user = context["dag_run"].triggering_user_name
        cause = f"{release.note}{f' by {user}' if user else ''}"
        announce(context, f"{self.model}: rolled back by hand; version {release.champion} is in production", cause)
        return release_summary(release)
