"""Offer a promoted candidate for deployment."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import TRAINING, ModelTask
from evergreen.notifications import announce
from include.core.json_types import JsonObject


class OfferCandidateOperator(ModelTask):
    """Update the asset ``<model>/candidate``, which starts deployment; skip if the candidate was not promoted.

    :param model: name of the model.
    :param version: the candidate's version in the registry.
    :param verdict: the promotion verdict.
    :param incident: the incident that the training responds to, if any; people are notified of its outcome.
    """

    inputs = ("version", "verdict", "incident")
    outlet = "candidate"
    ui_color = TRAINING
    version: str
    verdict: JsonObject
    incident: str = ""

    def execute(self, context: Context) -> None:
        """Offer the candidate, or skip with the verdict's reason."""
        promoted = self.verdict["answer"] == "pass"
        if self.incident:
            outcome = "promoted, deployment follows" if promoted else "not promoted, production is unchanged"
            title = f"{self.model} version {self.version}, trained for incident {self.incident}: {outcome}"
            announce(context, title, self.verdict["reason"])
        if not promoted:
            self.skip_because(f"version {self.version} is not offered: {self.verdict['reason']}")
        context["outlet_events"][self.asset].extra = {"version": str(self.version)}
