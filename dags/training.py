"""Trains a candidate and decides whether it may replace the champion.

**Starts** when a build has passed, when a new window of data arrives (if `training.on_new_data` is set), when
`<model>.retraining` finds the model degraded, or by hand with *Trigger*: choose the newest window of data to use, a
build, or other parameters for the estimator.

**Steps**
1. `take_snapshot` freezes the newest windows of data under their content hash.
2. `validate_snapshot` validates the snapshot against the spec with Great Expectations.
3. `train_candidate` trains in the build's own environment on all but the newest days. Candidate and champion then
   predict those days, which neither has seen.
4. `compare_with_champion` measures both and decides whether the candidate is demonstrably better.
5. `register_candidate` registers it in MLflow with its complete lineage, the estimator's parameters and pictures.
6. `offer_candidate` passes it on to deployment, or is skipped with the reason.

**Makes** a model version with a model card, promoted or not. If it beat the champion, it gets the alias `challenger`,
and the asset `<model>/candidate` starts `<model>.deployment`.

### When it fails
- `take_snapshot`: a partition is missing, empty, or lacks a column; the message names it. Or the run was refused before
  anything was read: a window of the wrong length or without data, a build that does not exist or did not pass, no build
  at all, an unknown incident or parameter, or an argument that the build's estimator function does not have (known for
  builds since Evergreen records it). The message names each field; trigger again with other values.
- `validate_snapshot`: the data violates an expectation. The log lists each column, check and count. Correct the data or
  the expectations in model.yaml, then clear the run; a retry alone does not help.
- `train_candidate`: the error ends with the last lines of the model's own output. The time and memory limits are
  `training.time_limit_minutes` and `training.memory_mb` in model.yaml.
- `register_candidate`: look at MLflow (`make status`). Clearing the task never registers a candidate twice.
- No run started although data arrived: a new partition starts a training once two consecutive checks find it
  unchanged. Write large partitions under a temporary name, then rename them.
"""

from datetime import timedelta

from airflow.sdk import AssetWatcher, dag

from evergreen.assets import model_asset
from evergreen.choices import known_choices, suggesting
from evergreen.form_param import FormParam
from evergreen.model_dags import dag_settings, models_to_parse
from evergreen.operators.compare_with_champion import CompareWithChampionOperator
from evergreen.operators.offer_candidate import OfferCandidateOperator
from evergreen.operators.register_candidate import RegisterCandidateOperator
from evergreen.operators.take_snapshot import TakeSnapshotOperator
from evergreen.operators.train_candidate import TrainCandidateOperator
from evergreen.operators.validate_snapshot import ValidateSnapshotOperator
from evergreen.run_params import suggested_param, text_param
from evergreen.triggers.data_partition import DataPartitionTrigger
from include.core.spec import ModelSpec

PARAMS = {
    "parameters": FormParam(
        {},
        type=["object", "null"],
        title="Estimator parameters",
        description='Arguments of the estimator function as JSON, for example {"learning_rate": 0.05}. They are added '
        "to training.parameters in model.yaml and override parameters of the same name. Names that the function does "
        "not have are refused.",
    ),
    "reason": FormParam(
        None,
        type=["null", "string"],
        title="Reason",
        description="Why this training runs; recorded with the model version. Empty: what started the run.",
    ),
    "incident": FormParam(
        None,
        type=["null", "string"],
        title="Incident",
        description="The incident that this training responds to. Set by the retraining Dag; usually empty by hand.",
    ),
}


def params(model: ModelSpec) -> dict[str, FormParam]:
    """The trigger form: suggestions are of this model, the other fields are the same for all."""
    known = known_choices(model.name)
    suggested = {
        "window": suggesting(
            known.data,
            title="Newest window",
            description="The newest window of data to train on: a month (2013-05), a week (2013-W20) or a day "
            "(2013-05-17), depending on monitoring.window in model.yaml. Suggested: windows that were trained on. "
            "Empty: the newest window available.",
        ),
        "build": suggesting(
            known.builds,
            title="Build",
            description="Build to train with. Suggested: builds that passed. Empty: the newest that passed.",
        ),
    }
    return suggested | PARAMS


HASH = "{{ ti.xcom_pull('take_snapshot')['hash'] }}"


def build_dag(model: ModelSpec) -> None:
    """Make the Dag ``<model>.training``."""
    build = model_asset(model.name, "build")
    watcher = AssetWatcher(name=f"{model.name}_data", trigger=DataPartitionTrigger(model=model.name))
    # The same object in schedule and inlets: of two assets with one name, Airflow keeps one, and may lose the watcher.
    data = model_asset(model.name, "data", watchers=[watcher] if model.training.on_new_data else [])
    schedule = build | data if model.training.on_new_data else build

    @dag(**dag_settings(model, "training", __doc__, schedule=schedule, params=params(model)))
    def training() -> None:
        snapshot = TakeSnapshotOperator(task_id="take_snapshot", model=model.name, inlets=[data])
        validate = ValidateSnapshotOperator(task_id="validate_snapshot", model=model.name, snapshot=HASH)
        candidate = TrainCandidateOperator(
            task_id="train_candidate",
            model=model.name,
            snapshot=HASH,
            build=suggested_param("build"),
            pool="evergreen_training",
            queue="training",
            execution_timeout=timedelta(minutes=model.training.time_limit_minutes * 2 + 5),
        )
        verdict = CompareWithChampionOperator(
            task_id="compare_with_champion",
            model=model.name,
            candidate=candidate.output,
        )
        registered = RegisterCandidateOperator(
            task_id="register_candidate",
            model=model.name,
            snapshot=HASH,
            candidate=candidate.output,
            verdict=verdict.output,
            reason=text_param("reason"),
            incident=text_param("incident"),
        )
        offer = OfferCandidateOperator(
            task_id="offer_candidate",
            model=model.name,
            version="{{ ti.xcom_pull('register_candidate')['version'] }}",
            verdict=verdict.output,
            incident=text_param("incident"),
        )
        snapshot >> validate >> candidate >> verdict >> registered >> offer

    training()


for spec in models_to_parse(__file__):
    build_dag(spec)
