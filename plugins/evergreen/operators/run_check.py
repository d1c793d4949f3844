"""Run one check of a build."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from evergreen.model_dags import spec_of
from include.core.errors import BuildError


class RunCheckOperator(BaseOperator):
    """Run one check of a build, confined; a build that passed before is not checked again.

    Leaves the check's report as the XCom ``report``: answer, reason, seconds, file, isolation. A failed check
    fails the task.

    :param model: name of the model.
    :param build_id: the build.
    :param check: ``lint``, ``test`` or ``check_contract``.
    :param again: check again, though the build passed before.
    """

    template_fields = ("build_id", "again")
    ui_color = "#e3ecf7"

    def __init__(self, *, model: str, build_id: str, check: str, again: Any = False, **arguments: Any):
        super().__init__(**arguments)
        self.model = model
        self.build_id = build_id
        self.check = check
        self.again = again

    def execute(self, context: Any) -> None:
        from include.stages.ci import CHECKS
        from include.stages.installation import open_installation

        report = None if str(self.again) == "True" else self._passed_before()
        if report is None:
            report = CHECKS[self.check](open_installation(), spec_of(self.model), self.build_id)
        else:
            self.log.info("this build passed before, so it is not checked again; the parameter 'again' does that")
        context["ti"].xcom_push(key="report", value=report)
        self.log.info("%s: %s: %s", self.check, report["answer"], report["reason"])
        if report["answer"] != "pass":
            reason = report["reason"].rstrip(".")
            raise BuildError(f"{self.model}: {self.check} failed: {reason}. Whole output: {report['file']}")

    def _passed_before(self) -> dict[str, Any] | None:
        from include.stages.installation import open_installation

        for build in open_installation().store.builds(self.model):
            if build.build_id == self.build_id:
                report = build.report.get(self.check)
                return dict(report) if build.status == "passed" and report else None
        return None
