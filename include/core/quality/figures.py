"""Records of quality figures: a metric with its interval, an evaluation, a comparison, an estimate.

Each is written as JSON to the store or to a version's bundle (``as_dict``) and read back (``from_dict``).
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
    """None if it can't be measured; ``reason`` then says why."""
    low: float | None = None
    high: float | None = None
    """Bounds of its interval; None if there is none."""
    n: int = 0
    """Number of rows that it was measured on."""
    reason: str | None = None
    fewest: int | None = None
    """How many of the rows are of the rarer class; None for metrics of a regression."""

    def as_dict(self) -> JsonObject:
        """JSON values; ``reason`` and ``fewest`` only if there are any."""
        return _without_nones(asdict(self))

    @classmethod
    def from_dict(cls, values: JsonObject) -> QualityFigure:
        """The figure from the output of :meth:`as_dict`."""
        return cls(**values)


Quality = Mapping[str, QualityFigure]
"""Metric → its figure."""


def quality_as_dict(quality: Quality) -> JsonObject:
    """``{metric: figure}`` in JSON values."""
    return {metric: figure.as_dict() for metric, figure in quality.items()}


def quality_from_dict(values: JsonObject) -> Quality:
    """The figures from the output of :func:`quality_as_dict`."""
    return {metric: QualityFigure.from_dict(figure) for metric, figure in values.items()}


@dataclass(frozen=True)
class Evaluation:
    """Every metric of the spec, on all rows and by slice."""

    quality: Quality = field(default_factory=dict)
    slices: Mapping[str, Quality] = field(default_factory=dict)
    """``origin=EWR`` → its figures."""

    def as_dict(self) -> JsonObject:
        """JSON values: ``{"quality": {metric: figure}, "slices": {slice: {metric: figure}}}``."""
        slices = {name: quality_as_dict(quality) for name, quality in self.slices.items()}
        return {"quality": quality_as_dict(self.quality), "slices": slices}


@dataclass(frozen=True)
class Difference:
    """How much better a candidate is than the champion in the primary metric on the same rows (positive: better)."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    candidate: float | None = None
    champion: float | None = None
    """The metric of candidate and champion."""
    reason: str | None = None
    """Why the value or its interval is missing."""

    def as_dict(self) -> JsonObject:
        """JSON values; ``reason`` only if there is one."""
        return _without_nones(asdict(self))


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
    """An estimate and the actual value for the same rows."""

    estimate: float
    low: float | None
    high: float | None
    value: float
    """The actual value."""
    difference: float
    """Actual minus estimated value."""
    inside: bool | None
    """Whether the actual value is inside the estimate's interval; None without an interval."""
    n: int


@dataclass(frozen=True)
class Estimate:
    """Quality of the live version as estimated before ground truth, and how accurate the estimate was."""

    method: EstimationMethod
    quality: Quality
    truth: Mapping[str, EstimateOutcome]
    """Metric → outcome on the rows with ground truth."""

    def as_dict(self) -> JsonObject:
        """JSON values."""
        truth = {metric: asdict(outcome) for metric, outcome in self.truth.items()}
        return {"method": self.method, "quality": quality_as_dict(self.quality), "truth": truth}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Estimate:
        """The estimate from the output of :meth:`as_dict`."""
        truth = {metric: EstimateOutcome(**outcome) for metric, outcome in values["truth"].items()}
        return cls(values["method"], quality_from_dict(values["quality"]), truth)


def _without_nones(values: JsonObject) -> JsonObject:
    return {name: value for name, value in values.items() if name not in ("reason", "fewest") or value is not None}
