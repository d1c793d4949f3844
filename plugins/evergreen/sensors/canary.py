"""Wait until the canary has passed all its steps."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from evergreen.model_dags import spec_of
from include.core.errors import GateError


class CanarySensor(BaseSensorOperator):
    """Judge the canary until its last step has passed; a failed verdict fails the task at once.

    Its state stands in the release, so that a killed or rescheduled sensor goes on with the same step. Returns the
    last verdict.

    :param model: name of the model.
    """

    ui_color = "#dfe9f5"

    def __init__(self, *, model: str, **arguments: Any):
        super().__init__(**arguments)
        self.model = model

    def poke(self, context: Any) -> PokeReturnValue:
        from include.stages import deployment
        from include.stages.installation import open_installation

        verdict, finished = deployment.watch_canary(open_installation(), spec_of(self.model), context["dag_run"].run_id)
        self.log.info("%s", verdict)
        if verdict.answer == "fail":
            raise GateError(f"{self.model}: the canary failed and is rolled back: {verdict}")
        return PokeReturnValue(finished, verdict.as_dict())
