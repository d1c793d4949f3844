"""The sections on health: monitoring and degradation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from include.core.spec.fields import Fraction, Percentage, SpecSection
from include.core.spec.question import Question
from include.core.windows import Grain


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
    class_rows_at_least: int = Field(
        20, ge=1, description="Minimum number of rows of each class with ground truth (binary_classification)."
    )
    truth_share_at_least: Fraction = Field(
        0.5, description="Share of predictions that need ground truth, once its delay has passed, to judge a window."
    )
    drift_false_alarm_rate: float = Field(
        0.05,
        ge=0.001,
        le=0.5,
        description="Share of windows that may be reported as drifted although they differ from the reference only as "
        "its own periods do from each other, and rows that depend on each other are those of data.dependence.",
    )
    drift_effect_at_least: Fraction = Field(
        0.02,
        description="Smallest share of a column's rows that must have changed (total variation) to count as drift.",
    )
    drift_windows: int = Field(
        3, ge=1, le=12, description="How many of the newest windows the alert ModelDrifted considers (n)."
    )
    drift_breaches: int = Field(
        2, ge=1, description="How many of them must have drifted for the alert (k), the newest included."
    )

    @model_validator(mode="after")
    def _k_of_n(self) -> Monitoring:
        if self.drift_breaches > self.drift_windows:
            raise ValueError("drift_breaches can't be more than drift_windows. Lower it, or consider more windows")
        return self


class Degradation(SpecSection):
    """When health is bad enough to retrain."""

    drop: Annotated[float, Field(gt=0)] | Percentage = Field(
        description="How much worse than on its holdout the live version's primary metric may be: in metric units, or "
        "as a percentage of its value there, such as 20%.",
    )
    windows: int = Field(3, ge=1, description="How many of the newest windows are considered (n).")
    breaches: int = Field(2, ge=1, description="How many of them must exceed the drop (k), the newest included.")
    confidence: Annotated[float, Field(gt=0, lt=1)] | Literal["none"] = Field(
        0.6,
        description="Probability that a model which does not change gets through a year without an incident, whatever "
        "the length of a window: a drop counts if chance explains it more rarely. Lower values find smaller changes; "
        "none: each drop counts, also one that is chance.",
    )
    cooldown_windows: int = Field(1, ge=0, description="Windows after an incident in which no new one starts.")
    budget: int = Field(6, ge=0, description="Maximum number of retrainings within budget_windows.")
    budget_windows: int = Field(12, ge=1, description="Number of windows that the budget covers.")
    mode: Literal["retrain", "ask"] = Field(
        "retrain", description="retrain: an incident starts a training; ask: only after a person has approved it."
    )
    question: Question = Field(default_factory=Question, description="With mode ask: who may answer, and for how long.")

    def allowed(self, reference: float) -> float:
        """The allowed drop in metric units, for a version with this value of the metric on its holdout."""
        if isinstance(self.drop, str):
            return float(self.drop.rstrip("% ")) / 100 * abs(reference)
        return self.drop

    @model_validator(mode="after")
    def _some_drop(self) -> Degradation:
        if not self.allowed(1.0):
            raise ValueError("drop must be more than 0 %")
        return self

    @model_validator(mode="after")
    def _k_of_n(self) -> Degradation:
        if self.breaches > self.windows:
            raise ValueError("breaches can't be more than windows")
        return self
