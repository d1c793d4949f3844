"""The sections on what may replace what: promotion, deployment and its canary."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from include.core.spec.fields import Fraction, SpecSection
from include.core.spec.question import Approval


class Promotion(SpecSection):
    """When a candidate may replace the champion."""

    threshold: float | None = Field(
        None, description="Worst value of the primary metric that any candidate may have, champion or not."
    )
    improvement: float = Field(0.0, description="How much better than the champion it must be, in metric units.")
    holdout_rows_at_least: int = Field(500, ge=20, description="Minimum number of unseen rows to compare on.")
    holdout_class_rows_at_least: int = Field(
        20, ge=1, description="Minimum number of unseen rows of each class (binary_classification)."
    )
    slice_drop_at_most: float = Field(
        0.05,
        ge=0,
        description="How much worse than the champion a slice may be, in metric units. A candidate is refused if a "
        "slice is shown to be worse by more.",
    )
    slice_rows_at_least: int = Field(200, ge=20, description="Smaller slices are reported but not judged.")


class PredictionLimits(SpecSection):
    """How far a new release's predictions may be from production's for the same rows."""

    required: bool = Field(
        True,
        description="Whether requests that production has answered are sent to the new release as well, in the test "
        "environment, before the canary passes its first step. Set it to false where predictions change on purpose, "
        "such as from minutes to seconds.",
    )
    correlation_at_least: float = Field(
        0.3, ge=0, le=1, description="Smallest rank correlation (Spearman's) of both releases' predictions."
    )
    mean_shift_at_most: float = Field(
        0.8, gt=0, description="Largest difference of the means, in standard deviations of production's predictions."
    )
    spread_ratio_at_most: float = Field(
        1.9, ge=1, description="Largest ratio of the standard deviations, whichever is the larger one."
    )


class Canary(SpecSection):
    """How production traffic moves to a new release."""

    steps: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        default_factory=lambda: [10, 50],
        description="Shares of traffic in percent, in order; after the last one, all of it.",
    )
    requests_at_least: int = Field(
        100,
        ge=1,
        description="Requests that both releases must answer in each step. One whose "
        "errors or latency can't be judged yet waits for more.",
    )
    rows_at_least: int = Field(
        10_000,
        ge=1,
        description="Rows in them that are enough as well, for clients that send many rows in few requests. Few "
        "requests without an error say little about how rare errors are.",
    )
    step_timeout_minutes: float = Field(
        30, gt=0, description="Roll back if a step can't be judged after this time, for example for too few requests."
    )
    error_rate_at_most: Fraction = Field(
        0.01,
        description="How much larger than production's the share of responses with 5xx, or with 4xx, may be. Half of "
        "it passes, three times as much is rolled back; what is between may do either.",
    )
    latency_ratio_at_most: float = Field(
        2.0,
        gt=0,
        description="Largest p95 latency (with 500 requests, also p99) as a multiple of production's. Below 50 ms, "
        "nothing is too slow.",
    )
    prediction_shift_at_most: float = Field(
        0.5, gt=0, description="Largest Kolmogorov-Smirnov distance (0 to 1) from production's predictions."
    )
    predictions: PredictionLimits = Field(
        default_factory=PredictionLimits,
        description="How far predictions may be from production's for the same rows.",
    )
    check_seconds: float = Field(10, gt=0, description="Seconds between two checks of the canary.")


class Shadow(SpecSection):
    """The replay of logged requests into a new release before any client reaches it."""

    requests: int = Field(
        0,
        ge=0,
        description="How many of production's newest logged requests are sent to the new release in the test "
        "environment, before its canary; 0: none.",
    )
    enough_without_traffic: bool = Field(
        False,
        description="For models with little traffic: whether a canary step that too few requests reach within "
        "canary.step_timeout_minutes passes if the replay passed.",
    )

    @model_validator(mode="after")
    def _has_requests_to_replay(self) -> Shadow:
        if self.enough_without_traffic and not self.requests:
            raise ValueError(
                "enough_without_traffic needs a replay. Set requests to at least canary.requests_at_least, such as 200"
            )
        return self


class Deployment(SpecSection):
    """How a release gets into production."""

    golden_examples: int = Field(50, ge=1, description="Holdout rows replayed in the test environment.")
    golden_tolerance: float = Field(
        1e-6, ge=0, description="Largest difference from the recorded prediction, in proportion if large."
    )
    latency_p95_ms: float | None = Field(
        None,
        gt=0,
        description="Latency budget for a one-row request, in the test environment and in the alert ServingSlow; null: "
        "none. The canary is always compared with the release in production (canary.latency_ratio_at_most).",
    )
    load_requests: int = Field(200, ge=20, description="One-row requests of the load test, in the test environment.")
    load_clients: int = Field(4, ge=1, le=64, description="Clients that send them concurrently; no request may fail.")
    durable_log: bool = Field(
        False,
        description="Whether a response waits until its prediction is on the disk, so that it survives the loss of "
        "power, not only the end of the server. Applies to servers that are started from then on.",
    )
    shadow: Shadow = Field(
        default_factory=Shadow, description="Replay of logged requests before the canary; off by default."
    )
    approval: Approval = Field(
        default_factory=Approval, description="A person's approval before the canary; off by default."
    )
    canary: Canary = Field(default_factory=Canary, description="How production traffic moves to a new release.")
    memory_mb: int = Field(2048, ge=256, description="Memory that one model server may use, in MiB.")
    cpus: float | None = Field(None, gt=0, description="CPUs that one model server may use; null: all (engine docker).")
    processes: int = Field(128, ge=16, description="Processes and threads that one server may have (engine docker).")
