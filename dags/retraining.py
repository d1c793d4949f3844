"""Starts one training when the model's health has degraded.

**Starts** whenever `<model>.monitoring` has published health, by hand, and by an alert where Alertmanager may do that
(docs/monitoring.md). All of them ask the same policy.

**Steps**
1. `degraded_health` (a sensor) asks the policy `degradation` of model.yaml about the health history: enough of the
   newest windows beyond the allowed drop, the newest among them, no incident cooling down, budget left. If not, the
   task is skipped with the reason, and so is the rest. Missing measurements hold; they never start anything.
2. `trigger_training` opens the incident and starts `<model>.training` with run id `incident__<model>-<window>`.
   One incident starts one training, however often this DAG runs.

**Makes** an incident in the store, and a run of `<model>.training` whose note and conf say why.

### When it fails
* A skipped `degraded_health` is the normal case: its log has the verdict with its figures. It fails only where the run
  has a parameter other than *wait*.
* `hold: … budget … is spent`: retraining did not help often enough. Look at the newest page in `reports/<model>/` and
  at the last training runs' verdicts before raising `degradation.budget`.
* `trigger_training` fails: `<model>.training` can't be started (import error, or not parsed yet). Put it right and
  clear the task: the incident is the same, so it starts at most one run.
* `trigger_training` is skipped: the training run of this incident exists. If that run failed, clear it there.
"""

from datetime import timedelta

from airflow.sdk import Param, dag

from evergreen.assets import model_asset
from evergreen.model_dags import dag_settings, models_to_parse
from evergreen.operators.trigger_training import TriggerTrainingOperator
from evergreen.sensors.degraded_health import DegradedHealthSensor

WAIT = Param(
    False,
    type=["boolean", "null"],
    title="Wait until degraded",
    description="Keep asking for at most 5 hours, instead of ending at once when health is not degraded.",
)


def build_dag(model):
    health = model_asset(model.name, "health")

    @dag(**dag_settings(model, "retraining", __doc__, schedule=[health], params={"wait": WAIT}))
    def retraining():
        degraded = DegradedHealthSensor(
            task_id="degraded_health", model=model.name, poke_interval=timedelta(seconds=30), timeout=timedelta(hours=5)
        )
        TriggerTrainingOperator(task_id="trigger_training", model=model.name, degraded=degraded.output)

    return retraining()


for spec in models_to_parse("retraining"):
    build_dag(spec)
