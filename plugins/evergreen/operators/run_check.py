"""Run one check of a build."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from evergreen.model_task import CI, ModelTask
from include.core.errors import BuildError


class RunCheckOperator(ModelTask):
    """Run one check of a build, confined; a build that passed before is not checked again.

    Leaves the check's report as the XCom ``report``: answer, reason, seconds, file, isolation. A failed check
    fails the task.

    :param model: name of the model.
    :param build_id: the build.
    :param check: ``lint``, ``test`` or ``check_contract``.
    :param again: check again, though the build passed before.
    """

    inputs = ("build_id", "check", "again")
    ui_color = CI
    build_id: str
    check: str
    again: Any = False

    def execute(self, context: Context) -> None:
        """Run the check, or take its report from before; raise BuildError when it failed."""
        from include.stages.ci import CHECKS

        report = None if str(self.again) == "True" else self._passed_before()
        if report is None:
            report = CHECKS[self.check](self.installation, self.spec, self.build_id)
        else:
            self.log.info("this build passed before, so it is not checked again; the parameter 'again' does that")
        context["ti"].xcom_push(key="report", value=report)
        self.log.info("%s: %s: %s", self.check, report["answer"], report["reason"])
        if report["answer"] != "pass":
            reason = report["reason"].rstrip(".")
            raise BuildError(f"{self.model}: {self.check} failed: {reason}. Whole output: {report['file']}")

    def _passed_before(self) -> dict[str, Any] | None:
        for build in self.installation.store.builds(self.model):
            if build.build_id == self.build_id:
                report = build.report.get(self.check)
                return dict(report) if build.status == "passed" and report else None
        return None
