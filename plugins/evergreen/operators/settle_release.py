"""Leave production with the champion alone at the end of every deployment."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.links import ModelLink, RolloutLink
from evergreen.model_task import ROLLBACK, ModelTask
from evergreen.notifications import announce
from evergreen.release_summary import ReleaseSummary, release_summary
from include.core.errors import GateError


class SettleReleaseOperator(ModelTask):
    """Roll back a canary that was not promoted, however the run ended; return the release.

    Fails when the run's version is not in production afterwards, so that such a run is never green, unless a person
    rejected the version. Skipped if the run chose no version (it was refused, skipped, or is a rollback): then there is
    nothing to settle.

    :param model: name of the model.
    :param choose: task that chose the version.
    """

    inputs = ("choose",)
    ui_color = ROLLBACK
    operator_extra_links = (ModelLink(), RolloutLink())
    choose: str

    def execute(self, context: Context) -> ReleaseSummary:
        """End the run's canary, if there is still one, and check which version serves."""
        from include.stages import approval, deployment

        installation, spec, run = self.installation, self.spec, context["dag_run"].run_id
        version = context["ti"].xcom_pull(task_ids=self.choose, key="version")
        if not version and not deployment.owns_rollout(installation, spec, run):
            self.skip_because(f"this run deploys no version; see the log of {self.choose}. Production is unchanged.")
        release = deployment.settle(installation, spec, run, version)
        self.log.info("in production: %s", release.champion or "nothing")
        if deployment.was_rolled_back(release, run):
            serves = f"version {release.champion} serves" if release.champion else "nothing serves"
            title = f"{self.model} version {version}: its canary was rolled back; {serves}"
            announce(context, title, of_failure=True)
        rejected = approval.rejection(installation, spec, run)
        if rejected and release.champion != version:
            self.log.info("version %s is not deployed: %s", version, rejected)
        elif version and release.champion != version:
            raise GateError(
                f"{self.model}: version {version} did not reach production; {release.champion or 'nothing'} serves. "
                "See the log of the task that failed before this one."
            )
        return release_summary(release)
