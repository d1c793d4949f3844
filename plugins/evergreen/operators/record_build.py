"""Record what became of a commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from evergreen.assets import model_asset
from include.core.build import Build
from include.core.errors import BuildError, EvergreenError


class RecordBuildOperator(BaseOperator):
    """Record the build with the report of each check; announce it as ``<model>/build`` if all passed.

    A check without a report counts as failed. A failed build is recorded, then fails the task and so the run.
    When a commit is seen again whose build is the newest passed one already, nothing is announced twice.

    :param model: name of the model.
    :param check_out: task that returned the commit.
    :param build: task that returned the build.
    :param checks: tasks of the checks.
    """

    ui_color = "#e3ecf7"

    def __init__(self, *, model: str, check_out: str, build: str, checks: Sequence[str], **arguments: Any):
        self.asset = model_asset(model, "build")
        super().__init__(outlets=[self.asset], multiple_outputs=True, **arguments)
        self.model = model
        self.check_out = check_out
        self.build = build
        self.checks = list(checks)

    def execute(self, context: Any) -> dict[str, Any]:
        from include.adapters.engines.environments import discard_checkout
        from include.stages.installation import open_installation

        ti, run = context["ti"], context["dag_run"]
        found = ti.xcom_pull(task_ids=self.check_out)
        if not found:
            raise BuildError(f"{self.model}: no commit was checked out; the log of {self.check_out} says why.")
        built = ti.xcom_pull(task_ids=self.build)
        build = self._judge(found["commit"], built, run.run_id, self._reports(ti, bool(built)))
        store = open_installation().store
        known = self._is_newest(store, build) and run.run_type == "asset_triggered"
        if not known:
            store.record_build(build)
        discard_checkout(self.model, build.commit)
        if build.status == "failed":
            raise BuildError(f"{self.model}: commit {build.commit[:12]} did not pass. {self._explain(build)}")
        if known:
            raise AirflowSkipException(f"build {build.build_id} had passed before; nothing new to announce.")
        context["outlet_events"][self.asset].extra = {"build_id": build.build_id, "commit": build.commit}
        return {"build_id": build.build_id, "commit": build.commit}

    def _reports(self, ti: Any, has_build: bool) -> dict[str, Any]:
        tasks = self.checks if has_build else [self.build]
        unfinished = {"answer": "fail", "reason": "did not finish; the log of this task says why"}
        return {task: ti.xcom_pull(task_ids=task, key="report") or dict(unfinished) for task in tasks}

    def _judge(self, commit: str, built: dict[str, Any] | None, run_id: str, reports: dict[str, Any]) -> Build:
        passed = built is not None and all(report["answer"] == "pass" for report in reports.values())
        return Build(
            model=self.model,
            build_id=built["build_id"] if built else f"{commit[:12]}-unbuilt",
            commit=commit,
            environment=built["environment"] if built else "",
            status="passed" if passed else "failed",
            report=reports,
            run_id=run_id,
        )

    def _is_newest(self, store: Any, build: Build) -> bool:
        """Whether this very build is the newest passed one, made by another run."""
        try:
            newest = store.newest_passed_build(self.model)
        except EvergreenError:
            return False
        return build.status == "passed" and newest.build_id == build.build_id and newest.run_id != build.run_id

    def _explain(self, build: Build) -> str:
        failed = {name: report for name, report in build.report.items() if report["answer"] != "pass"}
        return " ".join(f"{name}: {report['reason'].rstrip('.')}." for name, report in failed.items())
