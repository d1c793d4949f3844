"""Run one check of a build."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import CI, ModelTask
from include.core.errors import BuildError


class RunCheckOperator(ModelTask):
    """Run one check of a build in confinement; a build that has already passed is not checked again.

    Leaves the check's report as the XCom ``report``: answer, reason, seconds, file, isolation. A failed check
    fails the task.

    :param model: name of the model.
    :param build_id: the build.
    :param check: ``lint``, ``test`` or ``check_contract``.
    :param again: check again, even if the build has already passed.
    """

    inputs = ("build_id", "check", "again")
    ui_color = CI
    build_id: str
    check: str
    again: bool | str = False

    def execute(self, context: Context) -> None:
        """Run the check, or reuse its earlier report; raise BuildError when it failed."""
        from include.stages import ci

        again = str(self.again) == "True"
        report, earlier = ci.run_check(self.installation, self.spec, self.build_id, self.check, again=again)
        if earlier:
            self.log.info(
                "this build has already passed, so it is not checked again; set the parameter 'again' to do so"
            )
        context["ti"].xcom_push(key="report", value=dict(report))
        self.log.info("%s: %s: %s", self.check, report["answer"], report["reason"])
        if report["answer"] != "pass":
            reason = report["reason"].rstrip(".")
            raise BuildError(f"{self.model}: {self.check} failed: {reason}. Complete output: {report['file']}")
