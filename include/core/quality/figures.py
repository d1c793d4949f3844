"""Figures of quality as records: a metric with its interval, an evaluation, a comparison, an estimate.

Each is written as JSON to the store or to a version's bundle (``as_dict``) and read from there (``from_dict``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from include.core.json_types import JsonObject


@dataclass(frozen=True)
class QualityFigure:
    """One metric, measured or estimated."""

    value: float | None
    """None where it can't be measured; ``reason`` then says why."""
    low: float | None = None
    high: float | None = None
    """Ends of its interval; None where there is none."""
    n: int = 0
    """Rows that it was measured on."""
    reason: str | None = None

    def as_dict(self) -> JsonObject:
        """JSON values; ``reason`` only where there is one."""
        return _without_empty_reason(asdict(self))

    @classmethod
    def from_dict(cls, values: JsonObject) -> QualityFigure:
        """The figure that was written with :meth:`as_dict`."""
        return cls(**values)


Quality = Mapping[str, QualityFigure]
"""Metric → its figure."""


def quality_as_dict(quality: Quality) -> JsonObject:
    """``{metric: figure}`` in JSON values."""
    return {metric: figure.as_dict() for metric, figure in quality.items()}


def quality_from_dict(values: JsonObject) -> Quality:
    """What was written with :func:`quality_as_dict`."""
    return {metric: QualityFigure.from_dict(figure) for metric, figure in values.items()}


@dataclass(frozen=True)
class Evaluation:
    """Every metric of the spec on the same rows, all of them and by slice."""

    quality: Quality = field(default_factory=dict)
    slices: Mapping[str, Quality] = field(default_factory=dict)
    """``origin=EWR`` → its figures."""

    def as_dict(self) -> JsonObject:
        """JSON values: ``{"quality": {metric: figure}, "slices": {slice: {metric: figure}}}``."""
        slices = {name: quality_as_dict(quality) for name, quality in self.slices.items()}
        return {"quality": quality_as_dict(self.quality), "slices": slices}


@dataclass(frozen=True)
class Difference:
    """How much better a candidate is than the champion in the primary metric, on the same rows; positive: better."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    candidate: float | None = None
    champion: float | None = None
    """The metric of each."""
    reason: str | None = None
    """Why there is no value."""

    def as_dict(self) -> JsonObject:
        """JSON values; ``reason`` only where there is one."""
        return _without_empty_reason(asdict(self))


@dataclass(frozen=True)
class Comparison:
    """The difference in the primary metric, on all rows and by slice."""

    metric: str
    overall: Difference
    slices: Mapping[str, Difference]

    def as_dict(self) -> JsonObject:
        """JSON values: metric, the overall difference, and ``slices``."""
        slices = {name: difference.as_dict() for name, difference in self.slices.items()}
        return {"metric": self.metric, **self.overall.as_dict(), "slices": slices}


EstimationMethod = Literal["cbpe", "dle"]


@dataclass(frozen=True)
class EstimateOutcome:
    """An estimate and the actual value, of the same rows."""

    estimate: float
    low: float | None
    high: float | None
    value: float
    """Actual."""
    difference: float
    """Actual less estimated."""
    inside: bool | None
    """Whether the actual value lies in the estimate's interval; None without an interval."""
    n: int


@dataclass(frozen=True)
class Estimate:
    """Quality of the live version as estimated before ground truth, and how good the estimate was since."""

    method: EstimationMethod
    quality: Quality
    truth: Mapping[str, EstimateOutcome]
    """Metric → the outcome on the rows that have truth."""

    def as_dict(self) -> JsonObject:
        """JSON values."""
        truth = {metric: asdict(outcome) for metric, outcome in self.truth.items()}
        return {"method": self.method, "quality": quality_as_dict(self.quality), "truth": truth}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Estimate:
        """The estimate that was written with :meth:`as_dict`."""
        truth = {metric: EstimateOutcome(**outcome) for metric, outcome in values["truth"].items()}
        return cls(values["method"], quality_from_dict(values["quality"]), truth)


def _without_empty_reason(values: JsonObject) -> JsonObject:
    return {name: value for name, value in values.items() if name != "reason" or value is not None}
