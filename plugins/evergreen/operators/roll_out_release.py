"""Production: start the canary, promote it, or go back."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from evergreen.assets import model_asset
from evergreen.model_dags import spec_of
from include.core.errors import GateError


class StartCanaryOperator(BaseOperator):
    """Give a version its first share of production's traffic; returns the release.

    :param model: name of the model.
    :param version: version in the registry.
    """

    template_fields = ("version",)
    ui_color = "#dfe9f5"

    def __init__(self, *, model: str, version: str, **arguments: Any):
        super().__init__(**arguments)
        self.model = model
        self.version = version

    def execute(self, context: Any) -> dict[str, Any]:
        from include.stages import deployment
        from include.stages.installation import open_installation

        release = deployment.start_canary(
            open_installation(), spec_of(self.model), self.version, context["dag_run"].run_id
        )
        return _summary(release)


class PromoteReleaseOperator(BaseOperator):
    """Make the canary the champion and announce the asset ``<model>/release``; returns the release.

    :param model: name of the model.
    :param version: version in the registry.
    """

    template_fields = ("version",)
    ui_color = "#dfe9f5"

    def __init__(self, *, model: str, version: str, **arguments: Any):
        self.asset = model_asset(model, "release")
        super().__init__(outlets=[self.asset], **arguments)
        self.model = model
        self.version = version

    def execute(self, context: Any) -> dict[str, Any]:
        from include.stages import deployment
        from include.stages.installation import open_installation

        spec = spec_of(self.model)
        release = deployment.promote(open_installation(), spec, self.version, context["dag_run"].run_id)
        context["outlet_events"][self.asset].extra = {"version": release.champion, "revision": release.revision}
        return {**_summary(release), "image": deployment.production_image(open_installation(), spec, self.version)}


class SettleOperator(BaseOperator):
    """The end of every deployment, whatever happened: a canary that was not promoted goes; the champion serves alone.

    Fails when the run's version is not in production then, so that the run is never green without it. Skipped where the
    run chose no version: it was refused or skipped, or rolls back, and has changed nothing that needs settling.

    :param model: name of the model.
    :param choose: task that chose the version.
    """

    ui_color = "#f6e0dd"

    def __init__(self, *, model: str, choose: str, **arguments: Any):
        super().__init__(**arguments)
        self.model = model
        self.choose = choose

    def execute(self, context: Any) -> dict[str, Any]:
        from include.stages import deployment
        from include.stages.installation import open_installation

        spec, run = spec_of(self.model), context["dag_run"].run_id
        version = context["ti"].xcom_pull(task_ids=self.choose, key="version")
        if not version and not deployment.owns_rollout(open_installation(), spec, run):
            reason = f"this run deploys no version; the log of {self.choose} says why. Production is left as it is."
            self.log.info("%s", reason)
            raise AirflowSkipException(reason)
        release = deployment.settle(open_installation(), spec, run)
        self.log.info("in production: %s", release.champion or "nothing")
        if version and release.champion != version:
            raise GateError(
                f"{self.model}: version {version} did not get into production; {release.champion or 'nothing'} serves. "
                "The task that failed before this one says why."
            )
        return _summary(release)


class RollBackOperator(BaseOperator):
    """By hand: put the release that stands by back into production at once.

    :param model: name of the model.
    """

    ui_color = "#f6e0dd"

    def __init__(self, *, model: str, **arguments: Any):
        self.asset = model_asset(model, "release")
        super().__init__(outlets=[self.asset], **arguments)
        self.model = model

    def execute(self, context: Any) -> dict[str, Any]:
        from include.stages import deployment
        from include.stages.installation import open_installation

        release = deployment.roll_back(open_installation(), spec_of(self.model), context["dag_run"].run_id)
        self.log.info("in production: %s", release.champion)
        context["outlet_events"][self.asset].extra = {"version": release.champion, "revision": release.revision}
        return _summary(release)


def _summary(release: Any) -> dict[str, Any]:
    return {
        "revision": release.revision,
        "weights": dict(release.weights),
        "standby": list(release.standby),
        "champion": release.champion,
        "note": release.note,
    }
