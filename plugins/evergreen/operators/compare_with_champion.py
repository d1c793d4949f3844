"""Decide whether the candidate may replace the champion."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import Context

from evergreen.model_task import TRAINING, ModelTask
from include.core.json_types import JsonObject


class CompareWithChampionOperator(ModelTask):
    """Measure candidate and champion on the holdout that neither has seen; returns the promotion verdict.

    A failed verdict does not fail the run: the candidate is kept, but not offered for deployment.

    :param model: name of the model.
    :param folder: the candidate's folder.
    :param champion: version of the champion whose predictions are in the holdout; empty without one.
    """

    inputs = ("folder", "champion")
    ui_color = TRAINING
    folder: str
    champion: str

    def execute(self, context: Context) -> JsonObject:
        """Return the verdict, passed or not."""
        from include.stages import training as candidate

        verdict = candidate.compare(self.spec, Path(self.folder), self.champion or None)
        self.log.info("%s", verdict)
        return verdict.as_dict()
