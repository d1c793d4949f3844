"""Wait for health that is bad enough to retrain."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue

from evergreen.model_task import HEALTH, ModelTask
from evergreen.run_params import params_of
from evergreen.task_results import Degradation
from include.core.run_params import RetrainingParams


class DegradedHealthSensor(ModelTask, BaseSensorOperator):
    """Apply the policy to the model's health history.

    If the model is degraded, the sensor succeeds and returns ``{"incident", "window", "reason", "signals"}``. Otherwise
    it is skipped with the policy's reason until the next health event; with the parameter ``wait`` it keeps checking.

    :param model: name of the model.
    """

    ui_color = HEALTH

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(model=model, mode="reschedule", soft_fail=True, **kwargs)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Whether the model is degraded now; returns the incident if so."""
        from include.stages.retraining import decide

        params = params_of(context, RetrainingParams)
        decision = decide(self.installation, self.spec)
        verdict = decision.verdict
        self.log.info("%s: %s", self.model, verdict)
        incident = decision.as_incident()
        if incident:
            degradation: Degradation = {
                "incident": incident.key,
                "window": incident.window,
                "reason": verdict.reason,
                "signals": dict(verdict.signals),
            }
            return PokeReturnValue(True, degradation)
        if not params.wait:
            if ti := context.get("ti"):
                ti.xcom_push("verdict", verdict.as_dict())  # for the run's note; a skipped task returns nothing
            self.skip_because(str(verdict))
        return False
