"""Waits for health that is bad enough to retrain."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowSkipException

from evergreen.model_dags import spec_of
from evergreen.run_params import params_of
from include.core.run_params import RetrainingParams


class DegradedHealthSensor(BaseSensorOperator):
    """Ask the policy about the health history of ``model``.

    Degraded: done, and returns ``{"incident", "window", "reason", "signals"}``. Otherwise the task is skipped with
    the policy's reason, and the next health event asks again; with the run's parameter ``wait`` it keeps asking.
    """

    def __init__(self, *, model: str, **kwargs: Any):
        super().__init__(mode="reschedule", soft_fail=True, **kwargs)
        self.model = model

    def poke(self, context: Any) -> bool | PokeReturnValue:
        """Whether the model is degraded now; the incident is the sensor's result."""
        from include.stages.installation import open_installation
        from include.stages.retraining import decide

        params = params_of(context, RetrainingParams)
        decision = decide(open_installation(), spec_of(self.model))
        verdict = decision.verdict
        self.log.info("%s: %s", self.model, verdict)
        if decision.incident:
            degraded = {"incident": decision.incident, "window": decision.window}
            return PokeReturnValue(True, {**degraded, "reason": verdict.reason, "signals": dict(verdict.signals)})
        if params.wait:
            return False
        raise AirflowSkipException(str(verdict))
