"""Roll production back to the previous release."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import ROLLBACK, ModelTask
from evergreen.notifications import announce
from evergreen.release_summary import ReleaseSummary, release_summary


class RollBackReleaseOperator(ModelTask):
    """Put the standby release back into production immediately and update ``<model>/release``; return the release.

    :param model: name of the model.
    """

    outlet = "release"
    ui_color = ROLLBACK

    def execute(self, context: Context) -> ReleaseSummary:
        """Roll back, record version and revision in the asset event, and notify people."""
        from include.stages.deployment import roll_back

        release = roll_back(self.installation, self.spec, context["dag_run"].run_id)
        self.log.info("in production: %s", release.champion)
        context["outlet_events"][self.asset].extra = {"version": release.champion, "revision": release.revision}
        user = context["dag_run"].triggering_user_name
        cause = f"{release.note}{f' by {user}' if user else ''}"
        announce(context, f"{self.model}: rolled back by hand; version {release.champion} is in production", cause)
        return release_summary(release)
