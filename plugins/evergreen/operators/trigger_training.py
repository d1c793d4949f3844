"""Start one training run for an incident."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunLink, TriggerDagRunOperator
from airflow.sdk import BaseOperatorLink, Context

from evergreen.links import ModelLink
from evergreen.model_task import TRAINING, ModelTask
from evergreen.notifications import announce
from evergreen.task_results import Degradation, incident_of


class TriggerTrainingOperator(ModelTask, TriggerDagRunOperator):
    """Open the incident and start ``<model>.training`` for it.

    The training run's id is derived from the incident, so that repetitions, retries and a second scheduler find the
    existing run and skip. The incident is recorded first: the cooldown starts then, whatever happens to the run. With
    ``degradation.mode: ask``, approve_retraining has recorded it, and the task fails unless the store has an approval.

    :param model: name of the model.
    :param degraded: what DegradedHealthSensor returned.
    """

    inputs = ("degraded",)
    operator_extra_links: list[BaseOperatorLink] = [ModelLink(), TriggerDagRunLink()]  # noqa: RUF012
    ui_color = TRAINING
    degraded: Degradation

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(
            model=model,
            trigger_dag_id=f"{model}.training",
            logical_date=None,
            skip_when_already_exists=True,
            openlineage_inject_parent_info=False,
            **kwargs,
        )

    def execute(self, context: Context) -> None:
        """Open the incident, then start the run unless it already exists."""
        from include.stages.retraining import open_incident, require_training_approval

        incident, asks = incident_of(self.degraded), self.spec.degradation.mode == "ask"
        require_training_approval(self.installation, self.spec, incident.key)
        verdict = incident.verdict
        opened = open_incident(self.installation, self.spec, incident)
        self.log.info("incident %s: %s", incident.key, verdict.reason if opened else "was already open")
        if opened or (context["ti"].try_number > 1 and not asks):  # an earlier try may have ended before it notified
            version = self.degraded["signals"].get("version")
            announce(context, f"{self.model} version {version}: incident {incident.key} opened", verdict.reason)
        self.trigger_run_id = f"incident__{incident.key}"
        self.conf = {**self.degraded}
        self.note = f"Incident {incident.key}: {verdict.reason}"
        super().execute(context)
