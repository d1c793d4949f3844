"""Decide what a deployment run deploys."""

from __future__ import annotations

from airflow.providers.standard.operators.branch import BaseBranchOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from evergreen.model_task import TEST, ModelTask
from evergreen.run_params import params_of
from include.core.errors import RunRefusedError
from include.core.run_params import DeploymentParams, check_deployment, check_version


class ChooseReleaseOperator(ModelTask, BaseBranchOperator):
    """Choose the version to deploy, or branch to a rollback.

    The version is the run's param ``version``, else the candidate whose asset event started the run, else the newest
    promoted version. It is pushed as the XCom ``version``. A version that already serves is skipped. A version that
    does not exist, a rollback with nothing to roll back to, and a rollback to a named version are refused.

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
        from include.stages.reconciler import reconcile

        params = params_of(context, DeploymentParams)
        check_deployment(params)
        release = self.installation.store.release(self.model, "production")
        if params.rollback:
            release.roll_back(context["dag_run"].run_id)  # refuse in this task, not in the next one
            return self.roll_back
        if params.version:
            known = [str(one.version) for one in self.installation.registry.versions(self.model)]
            version = check_version(params.version, known)
        else:
            version = self._offered(context) or self._newest_promoted()
            self.installation.registry.version(self.model, version)
        if release.champion == version and not release.rollout:
            reconcile(self.installation, self.spec, "production")
            raise AirflowSkipException(f"version {version} already serves")
        context["ti"].xcom_push("version", version)
        self.log.info("deploying version %s; in production: %s", version, release.champion or "nothing")
        return self.deploy

    def _offered(self, context: Context) -> str | None:
        """The newest version in the run's asset events; several events may have been batched into one run."""
        events = (context.get("triggering_asset_events") or {}).values()
        versions = [event.extra["version"] for batch in events for event in batch if "version" in (event.extra or {})]
        return max(versions, key=int, default=None)

    def _newest_promoted(self) -> str:
        for version in self.installation.registry.versions(self.model):
            if version.tags.get("verdict") == "pass":
                return str(version.version)
        raise RunRefusedError(
            f"{self.model}: no version has been promoted yet. Run {self.model}.training first, or name a version."
        )
