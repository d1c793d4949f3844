"""Make the canary the champion."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import PRODUCTION, ModelTask
from evergreen.release_summary import PromotedRelease, release_summary


class PromoteReleaseOperator(ModelTask):
    """Promote the canary to champion and update the asset ``<model>/release``; return the release and its image.

    :param model: name of the model.
    :param version: version in the registry.
    :param overridden: why promotion refused the version; empty if it did not.
    """

    inputs = ("version", "overridden")
    outlet = "release"
    ui_color = PRODUCTION
    version: str
    overridden: str = ""

    def execute(self, context: Context) -> PromotedRelease:
        """Promote, then record version and revision in the asset event."""
        from include.stages import deployment

        installation, spec, run = self.installation, self.spec, context["dag_run"].run_id
        release = deployment.promote(installation, spec, self.version, run, overridden=self.overridden)
        context["outlet_events"][self.asset].extra = {"version": release.champion, "revision": release.revision}
        image = deployment.production_image(installation, spec, self.version)
        return {**release_summary(release), "image": image}
