"""Starts one training when the model's health has degraded.

**Starts** whenever `<model>.monitoring` has published health, by hand, and from an alert if Alertmanager is configured
for it (docs/monitoring.md). All three apply the same policy.

**Steps**
1. `degraded_health` (a sensor) applies the policy `degradation` of model.yaml to the health history. It succeeds when
   enough of the newest windows exceed the allowed drop, the newest among them, chance does not explain it, no earlier
   incident is cooling down, and budget is left. Otherwise the run is skipped with the reason. Missing measurements
   hold; they never start a training.
2. `approve_retraining` (only with `degradation.mode: ask` in model.yaml) opens the incident and asks people whether to
   retrain, on Airflow's page *Required Actions*. Without an approval within `degradation.question.hours`, no training
   starts. An incident is asked about in one run.
3. `trigger_training` opens the incident and starts `<model>.training` with the run id `incident__<model>-<window>`. One
   incident starts one training, however often this Dag runs.

**Makes** an incident in the store, and a run of `<model>.training` whose note and conf give the reason.

### When it fails
- `degraded_health` skipped is the normal case: its log has the verdict with its figures. It fails only if the run has a
  parameter other than *wait*.
- `hold: … budget … is spent`: retraining did not help often enough. Look at the newest page in `reports/<model>/` and
  at the verdicts of the last training runs before you raise `degradation.budget`.
- `approve_retraining` is skipped: the incident is open already, and its question was asked in the run that the log
  names. Clear the task there to ask again. It fails if the evidence has changed since people saw it.
- `trigger_training`: *starts no training without an approval* means that the store has none for this incident. Marking
  `approve_retraining` as success does not help.
- `trigger_training` fails otherwise: `<model>.training` cannot be started (import error, or not parsed yet). Fix the
  cause and clear the task: the incident is the same, so it starts at most one run.
- `trigger_training` is skipped: a person rejected the training, nobody answered, or the training run of this incident
  exists. If that run failed, clear it there.
"""

from datetime import timedelta

from airflow.sdk import dag

from evergreen.assets import model_asset
from evergreen.form_param import FormParam
from evergreen.model_dags import RUN_TIMEOUT, WAITING_RUNS, dag_settings, models_to_parse
from evergreen.operators.approve_retraining import ApproveRetrainingOperator
from evergreen.operators.trigger_training import TriggerTrainingOperator
from evergreen.sensors.degraded_health import DegradedHealthSensor
from include.core.spec import ModelSpec

WAIT = FormParam(
    False,
    type=["boolean", "null"],
    title="Wait until degraded",
    description="Keep checking for up to 5 hours, instead of skipping the run when health is not degraded.",
)


def build_dag(model: ModelSpec) -> None:
    """Make the Dag ``<model>.retraining``."""
    health, asks = model_asset(model.name, "health"), model.degradation.mode == "ask"
    hours = timedelta(hours=model.degradation.question.hours)
    limits = {"max_active_runs": WAITING_RUNS, "dagrun_timeout": RUN_TIMEOUT + hours} if asks else {}

    @dag(**dag_settings(model, "retraining", __doc__, schedule=[health], params={"wait": WAIT}, **limits))
    def retraining() -> None:
        degraded = DegradedHealthSensor(
            task_id="degraded_health", model=model.name, poke_interval=timedelta(seconds=30), timeout=timedelta(hours=5)
        )
        training = TriggerTrainingOperator(task_id="trigger_training", model=model.name, degraded=degraded.output)
        if asks:
            approved = ApproveRetrainingOperator(
                task_id="approve_retraining", model=model.name, degraded=degraded.output, response_timeout=hours
            )
            approved >> training

    retraining()


for spec in models_to_parse(__file__):
    build_dag(spec)
