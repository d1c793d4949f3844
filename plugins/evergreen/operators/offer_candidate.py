"""Offer a promoted candidate for deployment."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from evergreen.assets import model_asset


class OfferCandidateOperator(BaseOperator):
    """Announce the candidate as the asset ``<model>/candidate``, which starts deployment; skip if it wasn't promoted.

    :param model: name of the model.
    :param version: the candidate's version in the registry.
    :param verdict: the promotion verdict.
    """

    template_fields = ("version", "verdict")
    ui_color = "#e3f1e6"

    def __init__(self, *, model: str, version: str, verdict: Any, **arguments: Any):
        self.asset = model_asset(model, "candidate")
        super().__init__(outlets=[self.asset], **arguments)
        self.version = version
        self.verdict = verdict

    def execute(self, context: Any) -> None:
        if self.verdict["answer"] != "pass":
            raise AirflowSkipException(f"version {self.version} is not offered: {self.verdict['reason']}")
        context["outlet_events"][self.asset].extra = {"version": str(self.version)}
