"""Brings a version into production through the test environment and a canary, or rolls back.

**Starts** when training offers a candidate, or by hand with *Trigger*: choose a version, or tick *Roll back* to put the
previous release, or the one chosen in *Roll back to*, back into production immediately.

**Steps**
1. `choose_release` decides what to deploy, or takes the rollback path.
2. `deploy_to_test` starts the version in the test environment.
3. `verify_in_test` replays golden examples and runs a load test against the latency budget.
4. `replay_in_test` (only with `deployment.shadow.requests` in model.yaml) sends production's newest logged requests to
   the version, where no client is involved.
5. `approve_release` (only with `deployment.approval.required` in model.yaml) asks people whether to go on, with the
   evidence: promotion's verdict, those of the test environment, commit, data. The run waits on Airflow's page *Required
   Actions* without holding a worker or the test environment. A rejection ends it, and so does no answer within
   `deployment.approval.hours`.
6. `start_canary` and `watch_canary` give the version growing shares of production traffic. At each step, its errors,
   latency and predictions are compared with those of the current release, which stays loaded. A canary that
   receives too few requests waits, and is rolled back when the step times out.
7. `promote_release` makes it the champion. `clear_test` stops the server in the test environment.
8. `settle` always runs, and ends the canary of a run that failed.

With *Roll back*, only `roll_back` runs after `choose_release`: no test, no approval and no canary, since the version
has served before. If its server is not loaded any more, it is started first, while the current release serves. A run
rolls back once, however often it is retried or cleared.

A version that did not pass promotion is only deployed with *Deploy although promotion refused it*; the release's note
then gives promotion's reason.

**Makes** the new champion (alias `champion` in MLflow) and the asset `<model>/release`. Promoted or rolled back, the
version is no longer the `challenger`.

### When it fails
- **Production is safe**: `settle` runs whatever happened. It is red when the version did not reach production, unless a
  person rejected it, and its log says what is serving. Look at the task that failed before it. It is skipped in runs
  that deploy no version.
- `choose_release`: the run was refused before anything changed. The message names the fields and the remedy: fields
  that contradict each other, a version that does not exist or did not pass promotion, nothing to roll back to, a
  version that was never in production, no promoted version yet. Trigger again with other values; clearing this run does
  not help.
- `roll_back`: the error ends with the tail of the server's log, and production is unchanged. Roll back to another
  release. If the version's build was removed, run ci for its commit first.
- `deploy_to_test` or `start_canary`: the error ends with the tail of the server's log. *run … is deploying version …*
  means that another run owns the rollout. Wait for it, then clear this run.
- `verify_in_test`: predictions differ from those recorded in training, requests failed under load, or responses were
  too slow. Do not deploy this version.
- `replay_in_test`: the version failed requests that production answered, or its predictions differ too much. Do not
  deploy it.
- `approve_release`: nobody answered in time, or somebody who is not among `deployment.approval.approvers`. Run this Dag
  with the version again. Clearing the task asks again, and ends a canary that the run has begun; *the evidence has
  changed* means that Airflow would show the evidence of the first time.
- `start_canary`: *gets no traffic without an approval* means that model.yaml requires one, and the store has none for
  this version and what is in production now. *production changed* means that another version was promoted while this
  one waited. Marking `approve_release` as success does not help.
- `watch_canary`: the verdict names the figure. *too few requests to say whether …* means that errors or latency were
  neither shown to be within their limits nor beyond them in time: deploy again, with a longer
  `canary.step_timeout_minutes` if there is little traffic. *predictions for the same rows …* compares what both
  versions predict for requests that production has answered (`canary.predictions`). *fewer than … requests within the
  step's time limit* means that too little traffic arrived within `canary.step_timeout_minutes`. For a model with little
  traffic, a passed replay of logged requests can replace the canary's traffic (`deployment.shadow`). *… requests
  reached the canary, of about …* means that the gateway could not reach it: look at the log of its server.
- `settle` itself failed: run this Dag by hand with *Roll back*, or run `make up`, which reconciles everything.
"""

from datetime import timedelta

from airflow.sdk import dag

from evergreen.assets import model_asset
from evergreen.choices import known_choices, suggesting
from evergreen.form_param import FormParam
from evergreen.model_dags import RUN_TIMEOUT, WAITING_RUNS, dag_settings, models_to_parse
from evergreen.model_task import ModelTask
from evergreen.operators.approve_release import ApproveReleaseOperator
from evergreen.operators.choose_release import ChooseReleaseOperator
from evergreen.operators.promote_release import PromoteReleaseOperator
from evergreen.operators.replay_requests import ReplayRequestsOperator
from evergreen.operators.roll_back_release import RollBackReleaseOperator
from evergreen.operators.settle_release import SettleReleaseOperator
from evergreen.operators.start_canary import StartCanaryOperator
from evergreen.operators.start_test_server import StartTestServerOperator
from evergreen.operators.stop_test_server import StopTestServerOperator
from evergreen.operators.verify_test_server import VerifyTestServerOperator
from evergreen.sensors.canary import CanarySensor
from include.core.spec import Approval, ModelSpec

OVERRIDDEN = "{{ ti.xcom_pull(task_ids='choose_release', key='overridden') or '' }}"


def params(model: ModelSpec) -> dict[str, FormParam]:
    """The trigger form."""
    known = known_choices(model.name)
    return {
        "version": suggesting(
            known.versions,
            title="Version",
            description="The registered version to deploy, for example 3. Empty: the candidate that was offered last.",
        ),
        "force": FormParam(
            False,
            type=["boolean", "null"],
            title="Deploy although promotion refused it",
            description="Deploy the version above even if it did not pass promotion; the release's note says so. Test "
            "and canary decide as always.",
        ),
        "rollback": FormParam(
            False,
            type=["boolean", "null"],
            title="Roll back",
            description="Put an earlier release back into production immediately, without test or canary. Leave the "
            "version empty.",
        ),
        "to": suggesting(
            known.releases,
            title="Roll back to",
            description="With Roll back: the version to put back into production; it must have been there before. "
            "Empty: the previous release.",
        ),
    }


def limits(approval: Approval) -> dict[str, object]:
    """How many runs may be active, and for how long: runs that wait for an answer hold up no other, nor a rollback."""
    if not approval.required:
        return {"max_active_runs": 4}
    return {"max_active_runs": WAITING_RUNS, "dagrun_timeout": RUN_TIMEOUT + timedelta(hours=approval.hours)}


def build_dag(model: ModelSpec) -> None:
    """Make the Dag ``<model>.deployment``."""
    canary, approval = model.deployment.canary, model.deployment.approval
    long_wait = canary.check_seconds >= 30

    @dag(
        **dag_settings(
            model,
            "deployment",
            __doc__,
            schedule=[model_asset(model.name, "candidate")],
            params=params(model),
            **limits(approval),
        )
    )
    def deployment() -> None:
        release = ChooseReleaseOperator(
            task_id="choose_release", model=model.name, deploy="deploy_to_test", roll_back="roll_back"
        )
        version = "{{ ti.xcom_pull(task_ids='choose_release', key='version') }}"
        in_test = StartTestServerOperator(task_id="deploy_to_test", model=model.name, version=version)
        verified = VerifyTestServerOperator(task_id="verify_in_test", model=model.name, version=version)
        proved: ModelTask = verified
        more = {}
        if model.deployment.shadow.requests:
            proved = ReplayRequestsOperator(task_id="replay_in_test", model=model.name, version=version)
            verified >> proved
            more = {"replayed": proved.output}
        before = proved
        if approval.required:
            hours = timedelta(hours=approval.hours)
            before = ApproveReleaseOperator(
                task_id="approve_release", model=model.name, version=version, response_timeout=hours
            )
            proved >> before
        started = StartCanaryOperator(
            task_id="start_canary", model=model.name, version=version, overridden=OVERRIDDEN, **more
        )
        watched = CanarySensor(
            task_id="watch_canary",
            model=model.name,
            poke_interval=canary.check_seconds,
            timeout=(canary.step_timeout_minutes * 60 + 60) * len(canary.steps),
            mode="reschedule" if long_wait else "poke",
            execution_timeout=timedelta(minutes=(canary.step_timeout_minutes + 2) * len(canary.steps)),
        )
        promoted = PromoteReleaseOperator(
            task_id="promote_release",
            model=model.name,
            version=version,
            overridden=OVERRIDDEN,
            verdict=watched.output,
        )
        cleared = StopTestServerOperator(task_id="clear_test", model=model.name).as_teardown()
        settled = SettleReleaseOperator(task_id="settle", model=model.name, choose="choose_release")
        settled.as_teardown(on_failure_fail_dagrun=True)
        by_hand = RollBackReleaseOperator(task_id="roll_back", model=model.name)

        release >> in_test >> verified
        before >> started >> watched >> promoted
        proved >> cleared
        promoted >> settled
        release >> by_hand

    deployment()


for spec in models_to_parse(__file__):
    build_dag(spec)
