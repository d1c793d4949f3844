"""Decide whether the candidate may replace the champion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator

from evergreen.model_dags import spec_of


class CompareWithChampionOperator(BaseOperator):
    """Measure candidate and champion on the holdout that neither has seen; returns the promotion verdict.

    A failed verdict does not fail the run: the candidate is kept, and simply not offered for deployment.

    :param model: name of the model.
    :param folder: the candidate's folder.
    :param champion: version of the champion whose predictions stand in the holdout; empty without one.
    """

    template_fields = ("folder", "champion")
    ui_color = "#e3f1e6"

    def __init__(self, *, model: str, folder: str, champion: str, **arguments: Any):
        super().__init__(**arguments)
        self.model = model
        self.folder = folder
        self.champion = champion

    def execute(self, context: Any) -> dict[str, Any]:
        from include.stages import training as candidate

        verdict = candidate.compare(spec_of(self.model), Path(self.folder), self.champion or None)
        self.log.info("%s", verdict)
        return verdict.as_dict()
