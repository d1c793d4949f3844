"""The sections on making a candidate: training and metrics."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from include.core.json_types import JsonObject
from include.core.spec.fields import Column, Fraction, SpecSection


class Training(SpecSection):
    """How a candidate is made."""

    windows: int = Field(12, ge=1, description="How many of the newest windows of data to train on.")
    holdout_days: float = Field(
        7, gt=0, description="The newest days of the data, kept out of training to score candidate and champion."
    )
    parameters: JsonObject = Field(default_factory=dict, description="Arguments of the estimator function.")
    on_new_data: bool = Field(
        False,
        description="Train whenever a new partition of data arrives: a file, or a query's rows of a window that ended.",
    )
    time_limit_minutes: float = Field(30, gt=0, description="Maximum duration of one training.")
    memory_mb: int = Field(
        4096, ge=256, description="Memory that training may use, in MiB; the checks of a commit need 300."
    )
    cpus: float | None = Field(
        None,
        gt=0,
        description="CPUs that training may use; null: all (with the engine process, a number of threads).",
    )
    processes: int = Field(256, ge=16, description="Processes and threads that training may have at one time.")
    disk_mb: int = Field(
        16384, ge=64, description="Disk that the files and the log of training or of a check may take, in MiB."
    )
    compile: Literal["auto", "off"] = Field(
        "auto",
        description="auto: compile the fitted estimator to ONNX and serve that, in a fraction of the time and memory; "
        "what can't be compiled, or then predicts differently, is served as it was fitted. off: never compile.",
    )
    compile_tolerance: float = Field(
        1e-5,
        ge=0,
        description="Largest difference on the holdout between the estimator's predictions and those of its compiled "
        "form, in proportion if large.",
    )
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
