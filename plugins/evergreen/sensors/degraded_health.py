"""Wait for health that is bad enough to retrain."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue
from airflow.sdk.exceptions import AirflowSkipException

from evergreen.model_task import HEALTH, ModelTask
from evergreen.run_params import params_of
from include.core.run_params import RetrainingParams


class DegradedHealthSensor(ModelTask, BaseSensorOperator):
    """Ask the policy about the model's health history.

    Degraded: done, and returns ``{"incident", "window", "reason", "signals"}``. Otherwise the task is skipped with
    the policy's reason, and the next health event asks again; with the run's parameter ``wait`` it keeps asking.

    :param model: name of the model.
    """

    ui_color = HEALTH

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(model=model, mode="reschedule", soft_fail=True, **kwargs)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Whether the model is degraded now; the incident is the sensor's result."""
        from include.stages.retraining import decide

        params = params_of(context, RetrainingParams)
        decision = decide(self.installation, self.spec)
        verdict = decision.verdict
        self.log.info("%s: %s", self.model, verdict)
        if decision.incident:
            degraded = {"incident": decision.incident, "window": decision.window}
            return PokeReturnValue(True, {**degraded, "reason": verdict.reason, "signals": dict(verdict.signals)})
        if params.wait:
            return False
        raise AirflowSkipException(str(verdict))
