"""Decide what a deployment run deploys."""

from __future__ import annotations

from airflow.providers.standard.operators.branch import BaseBranchOperator
from airflow.sdk import Context

from evergreen.model_task import TEST, ModelTask
from evergreen.run_params import params_of
from include.core.run_params import DeploymentParams, check_deployment


class ChooseReleaseOperator(ModelTask, BaseBranchOperator):
    """Choose the version to deploy, or branch to a rollback.

    The version is the run's param ``version``, else the candidate whose asset event started the run, else the newest
    promoted version. It is pushed as the XCom ``version``. A version that already serves is skipped. A version that
    does not exist, one that promotion refused, and a rollback to what was never in production are refused. With the
    param ``force``, a version that promotion refused is deployed, and promotion's reason is pushed as ``overridden``.

    :param model: name of the model.
    :param deploy: task to continue with for a deployment.
    :param roll_back: task to continue with for a rollback.
    """

    inputs = ("deploy", "roll_back")
    ui_color = TEST
    deploy: str
    roll_back: str

    def choose_branch(self, context: Context) -> str:
        """The task to continue with; the version is pushed as XCom."""
        from include.stages import deployment, rollback

        params, run = params_of(context, DeploymentParams), context["dag_run"].run_id
        check_deployment(params)
        if params.rollback:
            rollback.check_rollback(self.installation, self.spec, run, params.to)  # here, not in the next task
            return self.roll_back
        choice = deployment.choose_version(
            self.installation,
            self.spec,
            requested=params.version,
            offered=self._offered(context),
            force=params.force,
        )
        if choice.already_serves:
            fresh = f"'make restart MODEL={self.model}' replaces its servers by fresh ones"
            self.skip_because(f"version {choice.version} already serves, and nothing is changed; {fresh}")
        context["ti"].xcom_push("version", choice.version)
        if choice.overridden:
            context["ti"].xcom_push("overridden", choice.overridden)
            self.log.warning(
                "version %s is deployed although promotion refused it: %s", choice.version, choice.overridden
            )
        self.log.info("deploying version %s; in production: %s", choice.version, choice.champion or "nothing")
        return self.deploy

    def _offered(self, context: Context) -> str | None:
        """The newest version in the run's asset events; several events may have been batched into one run."""
        events = (context.get("triggering_asset_events") or {}).values()
        versions = [event.extra["version"] for batch in events for event in batch if "version" in (event.extra or {})]
        return max(versions, key=int, default=None)
