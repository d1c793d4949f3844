"""Checks every commit and builds the environment that it will be trained and served in.

**Starts** when the branch of `repository` in model.yaml has a new commit (a trigger polls the Git server every few
seconds), or by hand with *Trigger*: give a branch, tag or commit.

**Steps**
1. `check_out` fetches exactly that commit.
2. `build_environment` installs its locked requirements, or reuses the environment built earlier from the same lock.
3. In parallel, `lint` runs ruff, `test` runs the commit's own pytest suite, and `check_contract` verifies the contract:
   the estimator can be built and fitted on a sample; its predictions have the right shape, are finite and repeatable;
   and a fresh process can load the artifact and predict the same values, as its server will.
4. `record_build` records the outcome of all checks.

The commit's code runs in the new environment, without the platform's environment variables, files, keys or network, and
within time and memory limits.

**Makes** a recorded build and, if every check passed, the asset `<model>/build`, which starts `<model>.training`. A
commit whose build has already passed is not checked again unless *again* is set.

### When it fails
- `check_out`: the repository, branch, commit or a parameter does not exist (fails at once), or the Git server cannot be
  reached (retried). The message names the URL, or the field of the form.
- `build_environment`: the requirements cannot be installed; uv's own message is in the log. Correct requirements.lock
  and push.
- `lint`, `test`, `check_contract`: the log has the complete output; `reports/` in the build's folder keeps it
  (`ruff.txt`, `pytest.xml`, `contract.json`). Correct the code and push. The time and memory limits are
  `training.time_limit_minutes` and `training.memory_mb` in model.yaml.
- `record_build` fails whenever a check failed; its message names each failed check and the reason.
"""

from datetime import timedelta

from airflow.sdk import AssetWatcher, dag

from evergreen.assets import model_asset
from evergreen.form_param import FormParam
from evergreen.model_dags import dag_settings, models_to_parse
from evergreen.operators.build_environment import BuildEnvironmentOperator
from evergreen.operators.check_out_commit import CheckOutCommitOperator
from evergreen.operators.record_build import RecordBuildOperator
from evergreen.operators.run_check import RunCheckOperator
from evergreen.triggers.git_commit import GitCommitTrigger
from include.core.spec import ModelSpec

CHECKS = ("lint", "test", "check_contract")
PARAMS = {
    "ref": FormParam(
        None,
        type=["null", "string"],
        title="Branch, tag or commit",
        description="The commit to build. Empty: the newest commit of the model's branch.",
    ),
    "again": FormParam(
        False,
        type=["boolean", "null"],
        title="Check again",
        description="Lock the requirements and run the checks again, even if this commit's build has already passed.",
    ),
}


def build_dag(model: ModelSpec) -> None:
    """Make the Dag ``<model>.ci``."""
    repository = model.repository
    trigger = GitCommitTrigger(model.name, repository.url, repository.branch, repository.connection)
    commit = model_asset(model.name, "commit", watchers=[AssetWatcher(name=f"{model.name}_git", trigger=trigger)])

    @dag(**dag_settings(model, "ci", __doc__, schedule=[commit], params=PARAMS))
    def ci() -> None:
        again = "{{ params.again }}"
        checked_out = CheckOutCommitOperator(task_id="check_out", model=model.name)
        build = BuildEnvironmentOperator(
            task_id="build_environment",
            model=model.name,
            commit=checked_out.output["commit"],  # type: ignore[index]
            again=again,
        )
        checks = [
            RunCheckOperator(
                task_id=check,
                model=model.name,
                build_id=build.output["build_id"],  # type: ignore[index]
                check=check,
                again=again,
                execution_timeout=timedelta(minutes=model.training.time_limit_minutes + 5),
            )
            for check in CHECKS
        ]
        record = RecordBuildOperator(
            task_id="record_build",
            model=model.name,
            check_out="check_out",
            build="build_environment",
            checks=CHECKS,
            trigger_rule="all_done",
        )
        checked_out >> build >> checks >> record

    ci()


for spec in models_to_parse(__file__):
    build_dag(spec)
