"""Record the outcome of a commit's checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context

from evergreen.model_task import CI, ModelTask
from evergreen.task_results import BuiltEnvironment
from include.core.build import CheckReport
from include.core.errors import BuildError


class RecordBuildOperator(ModelTask):
    """Record the build with the report of each check; update the asset ``<model>/build`` if all passed.

    A check without a report counts as failed. A failed build is recorded, then fails the task and thus the run. If a
    commit is seen again and its build is already the newest passed one, the asset is not updated a second time.

    :param model: name of the model.
    :param check_out: task that returned the commit.
    :param build: task that returned the build.
    :param checks: tasks of the checks.
    """

    inputs = ("check_out", "build", "checks")
    ui_color = CI
    outlet = "build"
    check_out: str
    build: str
    checks: Sequence[str]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)

    def execute(self, context: Context) -> dict[str, str]:
        """Judge the reports of all checks, record the build, and update the asset if it passed."""
        from include.stages import ci

        ti, run = context["ti"], context["dag_run"]
        checked_out: dict[str, str] | None = ti.xcom_pull(task_ids=self.check_out)
        built: BuiltEnvironment | None = ti.xcom_pull(task_ids=self.build)
        if not checked_out:
            raise BuildError(f"{self.model}: no commit was checked out; see the log of {self.check_out}.")
        recorded = ci.record_build(
            self.installation,
            self.model,
            checked_out["commit"],
            built["build_id"] if built else "",
            built["environment"] if built else "",
            self._reports(ti, bool(built)),
            run_id=run.run_id,
            watched=run.run_type == "asset_triggered",
        )
        build = recorded.build
        if build.status == "failed":
            raise BuildError(f"{self.model}: commit {build.commit[:12]} did not pass. {build.failures}")
        if not recorded.is_new:
            self.skip_because(f"build {build.build_id} had already passed; the asset is not updated again.")
        context["outlet_events"][self.asset].extra = {"build_id": build.build_id, "commit": build.commit}
        return {"build_id": build.build_id, "commit": build.commit}

    def _reports(self, ti: Any, has_build: bool) -> dict[str, CheckReport]:
        tasks = self.checks if has_build else [self.build]
        unfinished: CheckReport = {"answer": "fail", "reason": "did not finish; see the log of this task"}
        return {task: ti.xcom_pull(task_ids=task, key="report") or unfinished for task in tasks}
