"""Starts one training run for an incident."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

from evergreen.model_dags import spec_of


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
        """Open the incident, then start the run, unless it is there already."""
        from include.core.health.record import Incident
        from include.core.verdict import Verdict
        from include.stages.installation import open_installation
        from include.stages.retraining import open_incident

        verdict = Verdict("fail", self.degraded["reason"], self.degraded["signals"])
        incident = Incident(self.degraded["incident"], self.degraded["window"], verdict)
        opened = open_incident(open_installation(), spec_of(self.model), incident)
        self.log.info("incident %s: %s", incident.key, verdict.reason if opened else "was open already")
        self.trigger_run_id = f"incident__{incident.key}"
        self.conf = {name: self.degraded[name] for name in ("reason", "incident", "window", "signals")}
        self.note = f"Incident {incident.key}: {verdict.reason}"
        super().execute(context)
