"""The model spec: everything that a team declares about a model, in ``model.yaml``.

Every field has a description, which editors show through the published JSON Schema (``docs/model.schema.json``). The
file itself is parsed in :mod:`include.adapters.spec_file`, which adds line numbers to errors.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from include.core.metric_names import CLASSIFICATION_METRICS, HIGHER_IS_BETTER, REGRESSION_METRICS, WITHOUT_DIRECTION
from include.core.spec.data import Data, Feature, Truth
from include.core.spec.fields import RESERVED, Address, Column, Entrypoint, Identifier, SpecSection, Task
from include.core.spec.monitoring import Degradation, Monitoring
from include.core.spec.release import Deployment, Promotion
from include.core.spec.retention import Retention
from include.core.spec.training import Metrics, Training


class Repository(SpecSection):
    """Where the model's code lives."""

    url: Address = Field(description="Git URL or path, without a password. A relative path is below EVERGREEN_HOME.")
    branch: str = Field("main", description="Branch whose commits are built.")
    path: str = Field(".", description="Folder of the model inside the repository.")
    connection: str | None = Field(None, description="Airflow connection of type git, for private repositories.")
    package_indexes: list[Address] = Field(
        default_factory=list,
        description="Addresses that the commit's requirements may name besides the platform's own package index, as "
        "an index (--index-url, --extra-index-url, --find-links) or as the beginning of a package's URL.",
    )


class ModelSpec(SpecSection):
    """One model, as its team describes it."""

    schema_version: Literal[1] = Field(alias="schema", description="Version of this format: 1.")
    name: Identifier = Field(description="Name of the model; also the name of its folder.")
    owner: str = Field(min_length=1, description="Who is responsible for the model (team or address).")
    description: str = Field(min_length=1, description="What it predicts, and for whom.")
    repository: Repository = Field(description="Where its code lives.")
    task: Task = Field(description="binary_classification or regression.")
    target: Column = Field(description="Column to predict.")
    features: list[Feature] = Field(min_length=1, description="Input columns with their types and expectations.")
    optional_inputs: dict[Column, date] = Field(
        default_factory=dict,
        description="Inputs that requests may have, lack or send as another type, until the end of this day (UTC), "
        "while features change: a version that does not know the input ignores it, and for one that does, values that "
        "are not sent are missing.",
    )
    estimator: Entrypoint = Field(
        "model:estimator", description="module:function that returns an unfitted estimator (scikit-learn's API)."
    )
    feature_code: Entrypoint | None = Field(
        None, description="Optional module:function from a data frame of features to the estimator's input."
    )
    trusted_types: list[str] = Field(
        default_factory=list,
        description="Classes and functions that the artifact may contain, beyond those of scikit-learn, LightGBM, "
        "XGBoost and CatBoost, as module.name: the model's own, at the top level of a module in its folder, such as "
        "features.clean.Clean, and those of its locked libraries; from the standard library only harmless ones, such "
        "as functools.partial. Keep each listed for as long as a version that uses it may be served, also by a "
        "rollback.",
    )
    data: Data = Field(description="Training data.")
    truth: Truth = Field(
        description="Ground truth: the actual values of the target, which arrive later than the predictions."
    )
    training: Training = Field(default_factory=Training, description="How a candidate is made.")
    metrics: Metrics = Field(description="Which metrics are reported, and which one the gates use.")
    promotion: Promotion = Field(default_factory=Promotion, description="When a candidate may replace the champion.")
    deployment: Deployment = Field(default_factory=Deployment, description="How a release gets into production.")
    monitoring: Monitoring = Field(default_factory=Monitoring, description="What is measured in each window.")
    degradation: Degradation = Field(description="When health is bad enough to retrain.")
    retention: Retention = Field(default_factory=Retention, description="What is kept, and for how long.")

    @model_validator(mode="after")
    def _columns_do_not_clash(self) -> ModelSpec:
        names = [feature.name for feature in self.features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"features are listed twice: {', '.join(twice)}. Keep one of each")
        reserved = sorted({*names, self.target} & RESERVED)
        if reserved:
            raise ValueError(f"{', '.join(reserved)}: columns of the prediction log, not for features. Rename them")
        for special in (self.target, self.data.key):
            if special in names:
                raise ValueError(
                    f"'{special}' is the target or the key and can't also be a feature. Remove it from the features"
                )
        return self

    @model_validator(mode="after")
    def _optional_inputs_can_be_missing(self) -> ModelSpec:
        for special in (self.target, self.data.key, self.data.event_time):
            if special in self.optional_inputs:
                raise ValueError(
                    f"optional_inputs: '{special}' is the target, the key or the event time, which can't be optional. "
                    "Remove it"
                )
        return self

    @model_validator(mode="after")
    def _metrics_fit_the_task(self) -> ModelSpec:
        known = CLASSIFICATION_METRICS if self.task == "binary_classification" else REGRESSION_METRICS
        for metric in (self.metrics.primary, *self.metrics.also):
            if metric not in known:
                raise ValueError(f"metric '{metric}' is not available for {self.task}. Use one of: {', '.join(known)}")
        if self.metrics.primary in WITHOUT_DIRECTION:
            raise ValueError(
                f"metric '{self.metrics.primary}' has no direction, so no gate can use it. List it under "
                "metrics.also, and choose another metrics.primary, such as mae"
            )
        return self

    @model_validator(mode="after")
    def _dependence_is_known(self) -> ModelSpec:
        known = ["day", "none", *self.feature_names]
        if self.data.dependence not in known:
            raise ValueError(
                f"data.dependence '{self.data.dependence}' is not day, none or a feature. "
                f"Use one of: {', '.join(known)}"
            )
        return self

    @model_validator(mode="after")
    def _slices_are_categories(self) -> ModelSpec:
        categories = {feature.name for feature in self.features if feature.type in ("category", "boolean")}
        for column in self.metrics.slices:
            if column not in categories:
                raise ValueError(f"slice '{column}' is not a category or boolean feature. Choose one of those")
        return self

    @property
    def feature_names(self) -> list[str]:
        """The features' names, in the order of model.yaml."""
        return [feature.name for feature in self.features]

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value of the primary metric is better."""
        return self.metrics.primary in HIGHER_IS_BETTER

    def worse_by(self, value: float, reference: float) -> float:
        """How much worse ``value`` is than ``reference`` in the primary metric (negative: better)."""
        return reference - value if self.higher_is_better else value - reference
