"""Starts one training run for an incident."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator


class TriggerTrainingOperator(TriggerDagRunOperator):
    """Open the incident in ``degraded`` (what DegradedHealthSensor returned) and start ``<model>.training`` for it.

    The training run's id is made of the incident, so that repeats, retries and a second scheduler find the run that is
    there and skip. The incident is recorded first: from then on the policy cools down, whatever happens to the run.
    """

    template_fields = (*TriggerDagRunOperator.template_fields, "degraded")

    def __init__(self, *, model: str, degraded: Any, **kwargs: Any):
        super().__init__(
            trigger_dag_id=f"{model}.training",
            logical_date=None,
            skip_when_already_exists=True,
            openlineage_inject_parent_info=False,
            **kwargs,
        )
        self.model = model
        self.degraded = degraded

    def execute(self, context: Any) -> None:
        from include.stages.installation import open_installation

        incident, window = self.degraded["incident"], self.degraded["window"]
        verdict = {"answer": "fail", "reason": self.degraded["reason"], "signals": self.degraded["signals"]}
        if open_installation().store.record_incident(self.model, incident, window, verdict):
            self.log.info("incident %s: %s", incident, self.degraded["reason"])
        else:
            self.log.info("incident %s was open already", incident)
        self.trigger_run_id = f"incident__{incident}"
        self.conf = {name: self.degraded[name] for name in ("reason", "incident", "window", "signals")}
        self.note = f"Incident {incident}: {self.degraded['reason']}"
        super().execute(context)
