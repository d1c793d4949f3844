"""Decide what a deployment run is about."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.branch import BaseBranchOperator
from airflow.sdk.exceptions import AirflowSkipException

from evergreen.model_dags import spec_of
from evergreen.run_params import params_of
from include.core.errors import RunRefusedError
from include.core.run_params import DeploymentParams, check_deployment, check_version


class ChooseReleaseOperator(BaseBranchOperator):
    """Find the version to deploy, or follow the path to a rollback.

    The version is the run's param ``version``, else the candidate whose asset event started the run, else the newest
    version that was promoted. It is pushed as the XCom ``version``. A version that serves already is skipped. A version
    that isn't there, a rollback with nothing to go back to, and a rollback to a named version are refused.

    :param model: name of the model.
    :param deploy: task to go on with for a deployment.
    :param roll_back: task to go on with for a rollback.
    """

    ui_color = "#f4efdc"

    def __init__(self, *, model: str, deploy: str, roll_back: str, **arguments: Any):
        super().__init__(**arguments)
        self.model = model
        self.deploy = deploy
        self.roll_back = roll_back

    def choose_branch(self, context: Any) -> str:
        params = params_of(context, DeploymentParams)
        check_deployment(params)
        from include.stages.installation import open_installation
        from include.stages.reconciler import reconcile

        release = open_installation().store.release(self.model, "production")
        if params.rollback:
            release.roll_back(context["dag_run"].run_id)  # refuses here, and not in the next task
            return self.roll_back
        if params.version:
            known = [str(one.version) for one in open_installation().registry.versions(self.model)]
            version = check_version(params.version, known)
        else:
            version = self._offered(context) or self._newest_promoted()
            open_installation().registry.version(self.model, version)
        if release.champion == version and not release.rollout:
            reconcile(open_installation(), spec_of(self.model), "production")
            raise AirflowSkipException(f"version {version} serves already")
        context["ti"].xcom_push("version", version)
        self.log.info("deploying version %s; in production: %s", version, release.champion or "nothing")
        return self.deploy

    def _offered(self, context: Any) -> str | None:
        """The newest version that the run's asset events name; several events may have been batched into one run."""
        events = (context.get("triggering_asset_events") or {}).values()
        versions = [event.extra["version"] for batch in events for event in batch if "version" in (event.extra or {})]
        return max(versions, key=int, default=None)

    def _newest_promoted(self) -> str:
        from include.stages.installation import open_installation

        for version in open_installation().registry.versions(self.model):
            if version.tags.get("verdict") == "pass":
                return str(version.version)
        raise RunRefusedError(
            f"{self.model}: no version was promoted yet. Run {self.model}.training first, or name a version."
        )
