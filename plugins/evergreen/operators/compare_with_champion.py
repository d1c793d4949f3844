"""Decide whether the candidate may replace the champion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import Context

from evergreen.model_task import TRAINING, ModelTask
from include.core.json_types import JsonObject

if TYPE_CHECKING:
    from include.stages.training import Candidate


class CompareWithChampionOperator(ModelTask):
    """Measure candidate and champion on the holdout that neither has seen; returns the promotion verdict.

    A failed verdict does not fail the run: the candidate is kept, but not offered for deployment.

    :param model: name of the model.
    :param candidate: what :class:`TrainCandidateOperator` returned.
    """

    inputs = ("candidate",)
    ui_color = TRAINING
    candidate: Candidate

    def execute(self, context: Context) -> JsonObject:
        """Return the verdict, passed or not."""
        from include.stages import training

        verdict = training.compare(self.spec, self.candidate)
        self.log.info("%s", verdict)
        return verdict.as_dict()
