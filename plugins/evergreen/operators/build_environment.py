"""Build the locked environment of a commit."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from evergreen.model_task import CI, ModelTask
from evergreen.task_results import BuiltEnvironment
from include.core.errors import BuildError


class BuildEnvironmentOperator(ModelTask):
    """Lock the commit's requirements, build (or reuse) the environment of that lock, and assemble the build from
    code, runtime and environment.

    Returns ``{"build_id", "environment", "cached", "seconds"}``.

    :param model: name of the model.
    :param commit: full commit.
    :param again: resolve the requirements again, even if they were already resolved.
    """

    inputs = ("commit", "again")
    ui_color = CI
    commit: str
    again: bool | str = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)

    def execute(self, context: Context) -> BuiltEnvironment:
        """Make the build; leave a failed report for the build record when the requirements can't be installed."""
        from include.stages import ci

        try:
            again = str(self.again) == "True"
            build = ci.build_environment(self.installation, self.spec, self.commit, again=again)
        except BuildError as error:
            context["ti"].xcom_push(key="report", value={"answer": "fail", "reason": str(error)})
            raise
        self.log.info("build %s: environment %s", build.build_id, "reused" if build.cached else "newly built")
        return {
            "build_id": build.build_id,
            "environment": build.environment,
            "cached": build.cached,
            "seconds": round(build.seconds, 2),
        }
