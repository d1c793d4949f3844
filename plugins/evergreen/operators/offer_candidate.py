"""Offer a promoted candidate for deployment."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import TRAINING, ModelTask
from include.core.json_types import JsonObject


class OfferCandidateOperator(ModelTask):
    """Update the asset ``<model>/candidate``, which starts deployment; skip if the candidate was not promoted.

    :param model: name of the model.
    :param version: the candidate's version in the registry.
    :param verdict: the promotion verdict.
    """

    inputs = ("version", "verdict")
    outlet = "candidate"
    ui_color = TRAINING
    version: str
    verdict: JsonObject

    def execute(self, context: Context) -> None:
        """Offer the candidate, or skip with the verdict's reason."""
        if self.verdict["answer"] != "pass":
            self.skip_because(f"version {self.version} is not offered: {self.verdict['reason']}")
        context["outlet_events"][self.asset].extra = {"version": str(self.version)}
