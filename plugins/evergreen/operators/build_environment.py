"""Build the locked environment of a commit."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from evergreen.model_dags import spec_of
from include.core.errors import BuildError


class BuildEnvironmentOperator(BaseOperator):
    """Lock the commit's requirements, make the environment of that lock (or take the one that is there), and put
    code, runtime and environment together as a build.

    Returns ``{"build_id", "environment", "cached", "seconds"}``.

    :param model: name of the model.
    :param commit: full commit.
    :param again: resolve the requirements anew, though they were resolved before.
    """

    template_fields = ("commit", "again")
    ui_color = "#e3ecf7"

    def __init__(self, *, model: str, commit: str, again: Any = False, **arguments: Any):
        super().__init__(multiple_outputs=True, **arguments)
        self.model = model
        self.commit = commit
        self.again = again

    def execute(self, context: Any) -> dict[str, Any]:
        from include.stages.installation import open_installation

        try:
            build = open_installation().engine.prepare_build(
                spec_of(self.model), self.commit, again=str(self.again) == "True"
            )
        except BuildError as error:
            context["ti"].xcom_push(key="report", value={"answer": "fail", "reason": str(error)})
            raise
        self.log.info("build %s: environment %s", build.build_id, "was there" if build.cached else "is new")
        return {
            "build_id": build.build_id,
            "environment": build.environment,
            "cached": build.cached,
            "seconds": round(build.seconds, 2),
        }
