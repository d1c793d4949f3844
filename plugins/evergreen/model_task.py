"""The base of every operator and sensor: constructor, colour, outlet asset, and access to spec and installation."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowSkipException

from evergreen.assets import Thing, model_asset
from evergreen.links import ModelLink, RolloutLink
from evergreen.model_dags import spec_of
from evergreen.task_process import end_with_supervisor
from include.core.errors import GateError
from include.core.json_types import JsonObject
from include.core.verdict import Answer, Verdict

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.core.spec import ModelSpec
    from include.stages.installation import Installation

CI, TRAINING, TEST, PRODUCTION, ROLLBACK, HEALTH = "#e3ecf7", "#e3f1e6", "#f4efdc", "#dfe9f5", "#f6e0dd", "#ece6f5"
"""Colours of tasks in the web UI, by what they work on."""


class ModelTask(BaseOperator):
    """A task of one model. Combined with another Airflow operator it comes first: ``class X(ModelTask, BaseSensor)``.

    A subclass lists its arguments in ``inputs`` and annotates each; an argument with a class-level value is optional.
    All of them are template fields. With ``outlet``, the task updates that asset of the model.
    """

    inputs: ClassVar[tuple[str, ...]] = ()
    outlet: ClassVar[Thing | None] = None
    operator_extra_links: Collection[BaseOperatorLink] = (ModelLink(),)
    model: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited = getattr(super(), "template_fields", ())
        cls.template_fields = (*inherited, *cls.inputs)

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        own = {name: kwargs.pop(name) for name in self.inputs if name in kwargs}
        missing = [name for name in self.inputs if name not in own and not hasattr(type(self), name)]
        if missing:
            raise TypeError(f"{type(self).__name__} lacks required arguments: {', '.join(missing)}.")
        if self.outlet:
            self.asset = model_asset(model, self.outlet)
            kwargs.setdefault("outlets", [self.asset])
        super().__init__(**kwargs)
        self.model = model
        for name in self.inputs:
            setattr(self, name, own.get(name, getattr(type(self), name, None)))

    def pre_execute(self, context: Context) -> None:
        """Airflow calls this in the task's process before ``execute``."""
        super().pre_execute(context)
        end_with_supervisor()

    @property
    def spec(self) -> ModelSpec:
        """The model's current spec."""
        return spec_of(self.model)

    @property
    def installation(self) -> Installation:
        """The installation that this process belongs to."""
        from include.stages.installation import open_installation

        return open_installation()

    def skip_because(self, reason: str) -> NoReturn:
        """Skip the task. The reason is also logged: the log view folds an exception's text away."""
        self.log.info("skipped: %s", reason)
        raise AirflowSkipException(reason)


class VersionInTest(ModelTask):
    """A task about one version in the test environment.

    :param model: name of the model.
    :param version: version in the registry.
    """

    inputs = ("version",)
    operator_extra_links = (ModelLink(), RolloutLink())
    ui_color = TEST
    version: str

    def require(
        self, verdict: Verdict, context: Context, stage: str, accepted: tuple[Answer, ...] = ("pass",)
    ) -> JsonObject:
        """Log the verdict, record it as that of the rollout's ``stage``, and return it as JSON.

        Raises GateError with the remedy if its answer is not accepted.
        """
        from include.core.release.checks import RolloutCheck

        self.log.info("%s", verdict)
        check = RolloutCheck(context["dag_run"].run_id, stage, self.version, verdict)
        self.installation.store.record_check(self.model, check)
        if verdict.answer not in accepted:
            raise GateError(
                f"{self.model} version {self.version} failed in the test environment, and production is unchanged: "
                f"{verdict}. Correct the model, or deployment in model.yaml; then train a new version, or run "
                f"{self.model}.deployment with version {self.version} again."
            )
        return verdict.as_dict()
