"""Wait until the canary has passed all its steps."""

from __future__ import annotations

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue

from evergreen.links import ModelLink, RolloutLink
from evergreen.model_task import PRODUCTION, ModelTask
from include.core.errors import GateError


class CanarySensor(ModelTask, BaseSensorOperator):
    """Judge the canary until its last step has passed; a failed verdict fails the task immediately.

    The state is stored in the release, so that a killed or rescheduled sensor continues with the same step. Returns the
    last verdict.

    :param model: name of the model.
    """

    ui_color = PRODUCTION
    operator_extra_links = (ModelLink(), RolloutLink())

    def poke(self, context: Context) -> PokeReturnValue:
        """Judge the canary's current step once."""
        from include.stages import deployment

        verdict, finished = deployment.watch_canary(self.installation, self.spec, context["dag_run"].run_id)
        self.log.info("%s", verdict)
        if verdict.answer == "fail":
            raise GateError(f"{self.model}: the canary failed and was rolled back: {verdict}")
        return PokeReturnValue(finished, verdict.as_dict())
