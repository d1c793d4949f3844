"""Make the canary the champion."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.links import ModelLink, RolloutLink
from evergreen.model_task import PRODUCTION, ModelTask
from evergreen.release_summary import PromotedRelease, release_summary


class PromoteReleaseOperator(ModelTask):
    """Promote the canary to champion and update the asset ``<model>/release``; return the release and its image.

    :param model: name of the model.
    :param version: version in the registry.
    """

    inputs = ("version",)
    outlet = "release"
    ui_color = PRODUCTION
    operator_extra_links = (ModelLink(), RolloutLink())
    version: str

    def execute(self, context: Context) -> PromotedRelease:
        """Promote, then record version and revision in the asset event."""
        from include.stages import deployment

        installation, spec = self.installation, self.spec
        release = deployment.promote(installation, spec, self.version, context["dag_run"].run_id)
        context["outlet_events"][self.asset].extra = {"version": release.champion, "revision": release.revision}
        image = deployment.production_image(installation, spec, self.version)
        return {**release_summary(release), "image": image}
