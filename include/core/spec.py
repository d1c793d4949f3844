"""The model spec: everything that a team declares about a model, in ``model.yaml``.

Every field has a description, which editors show through the published JSON Schema (``docs/model.schema.json``). The
file itself is parsed in :mod:`include.adapters.spec_file`, which adds line numbers to errors.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from include.core.json_types import JsonObject
from include.core.metric_names import CLASSIFICATION_METRICS, HIGHER_IS_BETTER, REGRESSION_METRICS, WITHOUT_DIRECTION
from include.core.windows import Grain

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
Column = Annotated[str, Field(min_length=1, max_length=128)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Entrypoint = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
FeatureType = Literal["integer", "number", "category", "boolean"]
Task = Literal["binary_classification", "regression"]

RESERVED = frozenset(
    {"request_id", "row", "received", "version", "release", "key", "event_time", "prediction", "champion"}
)
"""Columns that the prediction log and the holdout have in addition to the features."""


class SpecSection(BaseModel):
    """A strict section of the spec: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Repository(SpecSection):
    """Where the model's code lives."""

    url: str = Field(description="Git URL or path. A relative path is below EVERGREEN_HOME.")
    branch: str = Field("main", description="Branch whose commits are built.")
    path: str = Field(".", description="Folder of the model inside the repository.")
    connection: str | None = Field(None, description="Airflow connection of type git, for private repositories.")


class Expectation(SpecSection):
    """Which values a column may have; checked on every snapshot before training."""

    minimum: float | None = Field(None, description="Smallest allowed value.")
    maximum: float | None = Field(None, description="Largest allowed value.")
    categories: list[str] | None = Field(None, description="The only allowed values.")
    missing_at_most: Fraction = Field(0.0, description="Largest allowed share of missing values.")


class Feature(Expectation):
    """One input column of the model."""

    name: Column = Field(description="Column name in training data and in prediction requests.")
    type: FeatureType = Field(description="integer, number, category (text) or boolean.")


PREDICTION = Feature(name="prediction", type="number")
"""The model's prediction, where it is counted and compared like a feature."""


class FileSource(SpecSection):
    """Partitioned Parquet or CSV files, one per window, local or in object storage."""

    path: str = Field(description="Path or fsspec URL with {window} in it, such as 'flights/{window}.parquet'.")
    connection: str = Field(
        "evergreen_lake", description="Airflow connection with the root path or the storage options."
    )

    @model_validator(mode="after")
    def _names_window(self) -> FileSource:
        if "{window}" not in self.path:
            raise ValueError("must contain {window}, which stands for the partition's key")
        if not self.path.endswith((".parquet", ".csv", ".csv.gz")):
            raise ValueError("must end in .parquet, .csv or .csv.gz")
        return self


class SqlSource(SpecSection):
    """A query through an Airflow connection; ``:start`` and ``:end`` are the window's bounds."""

    query: str = Field(description="SELECT with :start (included) and :end (excluded).")
    connection: str = Field(description="Airflow connection of the database.")

    @model_validator(mode="after")
    def _names_bounds(self) -> SqlSource:
        if ":start" not in self.query or ":end" not in self.query:
            raise ValueError("must use :start and :end, the bounds of the window")
        return self


class Data(SpecSection):
    """Training data."""

    source: FileSource | SqlSource = Field(description="Where partitions come from.")
    key: Column = Field(description="Column that identifies a row; unique within a snapshot.")
    event_time: Column = Field(description="Column with the event timestamp (UTC).")
    rows_at_least: int = Field(100, ge=1, description="Minimum number of rows in a partition.")
    newest_at_most_days_old: float | None = Field(
        None, gt=0, description="Freshness: the newest row may be at most this many days older than the window's end."
    )


class Truth(SpecSection):
    """Ground truth: the actual values of the target, which arrive later than the predictions."""

    source: FileSource | SqlSource = Field(
        description="Where ground truth comes from, partitioned by the event's window."
    )
    key: Column = Field(description="Column that matches the data's key.")
    column: Column = Field(description="Column with the actual value of the target.")
    delay_hours: float = Field(24, ge=0, description="How long after the event ground truth is complete.")


class Training(SpecSection):
    """How a candidate is made."""

    windows: int = Field(12, ge=1, description="How many of the newest windows of data to train on.")
    holdout_days: float = Field(
        7, gt=0, description="The newest days of the data, kept out of training to score candidate and champion."
    )
    parameters: JsonObject = Field(default_factory=dict, description="Arguments of the estimator function.")
    on_new_data: bool = Field(False, description="Train whenever a new partition of data arrives (files only).")
    time_limit_minutes: float = Field(30, gt=0, description="Maximum duration of one training.")
    memory_mb: int = Field(
        4096, ge=256, description="Memory that training may use, in MiB; the checks of a commit need 300."
    )
    cpus: float | None = Field(
        None,
        gt=0,
        description="CPUs that training may use; null: all (with the engine process, a number of threads).",
    )
    processes: int = Field(256, ge=16, description="Processes and threads that training may have (engine docker).")
    network: bool = Field(False, description="Allow training and the checks of a commit to use the network.")


class Metrics(SpecSection):
    """Which metrics are reported, and which one the gates use."""

    primary: str = Field(description="The metric that the gates use.")
    also: list[str] = Field(default_factory=list, description="Further metrics to report.")
    slices: list[Column] = Field(default_factory=list, description="Category features to report separately.")
    threshold: Fraction = Field(
        0.5, description="Probability from which a row is predicted true, for accuracy, precision, recall and f1."
    )
    confidence: Fraction = Field(0.95, description="Confidence level of the bootstrap intervals.")

    @property
    def names(self) -> list[str]:
        """Every metric that is reported, the primary one first."""
        return list(dict.fromkeys([self.primary, *self.also]))


class Promotion(SpecSection):
    """When a candidate may replace the champion."""

    threshold: float | None = Field(
        None, description="Worst value of the primary metric that any candidate may have, champion or not."
    )
    improvement: float = Field(0.0, description="How much better than the champion it must be, in metric units.")
    holdout_rows_at_least: int = Field(500, ge=20, description="Minimum number of unseen rows to compare on.")
    slice_drop_at_most: float = Field(
        0.05, ge=0, description="How much worse than the champion a slice may be, in metric units."
    )
    slice_rows_at_least: int = Field(200, ge=20, description="Smaller slices are reported but not judged.")


class Canary(SpecSection):
    """How production traffic moves to a new release."""

    steps: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        default_factory=lambda: [10, 50],
        description="Shares of traffic in percent, in order; after the last one, all of it.",
    )
    requests_at_least: int = Field(100, ge=1, description="Requests the canary must answer in each step.")
    step_timeout_minutes: float = Field(
        30, gt=0, description="Roll back if a step has not had enough requests after this time."
    )
    error_rate_at_most: Fraction = Field(0.01, description="Largest share of responses with 5xx.")
    latency_ratio_at_most: float = Field(3.0, gt=0, description="Largest p95 latency as a multiple of production's.")
    prediction_shift_at_most: float = Field(
        0.5, gt=0, description="Largest Kolmogorov-Smirnov distance (0 to 1) from production's predictions."
    )
    check_seconds: float = Field(10, gt=0, description="Seconds between two checks of the canary.")


class Deployment(SpecSection):
    """How a release gets into production."""

    golden_examples: int = Field(50, ge=1, description="Holdout rows replayed in the test environment.")
    golden_tolerance: float = Field(1e-6, ge=0, description="Largest difference from the recorded prediction.")
    latency_p95_ms: float = Field(
        250, gt=0, description="Latency budget for a one-row request, in the test environment."
    )
    load_requests: int = Field(200, ge=20, description="One-row requests of the load test, in the test environment.")
    load_clients: int = Field(4, ge=1, le=64, description="Clients that send them concurrently; no request may fail.")
    canary: Canary = Field(default_factory=Canary, description="How production traffic moves to a new release.")
    memory_mb: int = Field(2048, ge=256, description="Memory that one model server may use, in MiB.")
    cpus: float | None = Field(None, gt=0, description="CPUs that one model server may use; null: all (engine docker).")
    processes: int = Field(128, ge=16, description="Processes and threads that one server may have (engine docker).")


class Monitoring(SpecSection):
    """What is measured in each window."""

    window: Grain = Field("day", description="Length of a window: day, week or month.")
    schedule: str | None = Field(
        "@daily", description="When to measure: a cron expression, @daily and so on; null: only by hand."
    )
    rows_at_least: int = Field(
        200,
        ge=1,
        description="Minimum number of predictions (for quality: with ground truth) for a window to be judged.",
    )
    truth_share_at_least: Fraction = Field(
        0.5, description="Share of predictions that need ground truth, once its delay has passed, to judge a window."
    )
    drift_false_alarm_rate: float = Field(
        0.05,
        ge=0.001,
        le=0.5,
        description="Share of windows that may be reported as drifted although nothing has changed.",
    )
    drift_effect_at_least: Fraction = Field(
        0.02,
        description="Smallest share of a column's rows that must have changed (total variation) to count as drift.",
    )


class Degradation(SpecSection):
    """When health is bad enough to retrain."""

    drop: float = Field(
        gt=0,
        description="How much worse than on its holdout the live version's primary metric may be, in metric units.",
    )
    windows: int = Field(3, ge=1, description="How many of the newest windows are considered (n).")
    breaches: int = Field(2, ge=1, description="How many of them must exceed the drop (k), the newest included.")
    cooldown_windows: int = Field(1, ge=0, description="Windows after an incident in which no new one starts.")
    budget: int = Field(6, ge=0, description="Maximum number of retrainings within budget_windows.")
    budget_windows: int = Field(12, ge=1, description="Number of windows that the budget covers.")

    @model_validator(mode="after")
    def _k_of_n(self) -> Degradation:
        if self.breaches > self.windows:
            raise ValueError("breaches can't be more than windows")
        return self


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
    estimator: Entrypoint = Field(
        "model:estimator", description="module:function that returns an unfitted estimator (scikit-learn's API)."
    )
    feature_code: Entrypoint | None = Field(
        None, description="Optional module:function from a data frame of features to the estimator's input."
    )
    trusted_types: list[str] = Field(
        default_factory=list,
        description="Classes and functions beyond scikit-learn's that the artifact may contain, as module.name: the "
        "model's own, at the top level of a module in its folder, such as features.clean.Clean, and those of its "
        "locked libraries; from the standard library only harmless ones, such as functools.partial. Keep each listed "
        "for as long as a version that uses it may be served, also by a rollback.",
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
    def _new_data_can_be_watched(self) -> ModelSpec:
        if self.training.on_new_data and isinstance(self.data.source, SqlSource):
            raise ValueError(
                "training.on_new_data needs partitions in files (data.source.path): a query's result can't be watched. "
                "Set it to false, and let the process that loads the data trigger the training Dag"
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
