"""Make the canary the champion."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.links import ModelLink, RolloutLink
from evergreen.model_task import PRODUCTION, ModelTask
from evergreen.notifications import announce
from evergreen.release_summary import PromotedRelease, release_summary
from include.core.json_types import JsonObject


class PromoteReleaseOperator(ModelTask):
    """Promote the canary to champion and update the asset ``<model>/release``; return the release and its image.

    :param model: name of the model.
    :param version: version in the registry.
    :param overridden: why promotion refused the version; empty if it did not.
    :param verdict: the canary's last verdict, for the notification.
    """

    inputs = ("version", "overridden", "verdict")
    outlet = "release"
    ui_color = PRODUCTION
    operator_extra_links = (ModelLink(), RolloutLink())
    version: str
    overridden: str = ""
    verdict: JsonObject | None = None

    def execute(self, context: Context) -> PromotedRelease:
        """Promote, record version and revision in the asset event, and notify people."""
        from include.stages import deployment

        installation, spec, run = self.installation, self.spec, context["dag_run"].run_id
        release = deployment.promote(installation, spec, self.version, run, overridden=self.overridden)
        context["outlet_events"][self.asset].extra = {"version": release.champion, "revision": release.revision}
        image = deployment.production_image(installation, spec, self.version)
        before = f", instead of version {release.standby[0]}" if release.standby else ""
        reason = self.verdict["reason"] if self.verdict else "its canary has ended"
        announce(context, f"{self.model} version {self.version} is in production{before}", reason)
        return {**release_summary(release), "image": image}
