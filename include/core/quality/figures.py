"""Records of quality figures: a metric with its interval, an evaluation, a comparison, an estimate.

Each is written as JSON to the store or to a version's bundle (``as_dict``) and read back (``from_dict``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
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
    error: float | None = None
    """Its standard error; None without an interval, and in records of earlier releases."""
    blocks: int | None = None
    """Number of blocks of rows that depend on each other, such as days; None if rows are independent."""

    def as_dict(self) -> JsonObject:
        """JSON values; those from ``reason`` on only if there are any."""
        return _without_nones(asdict(self))

    @classmethod
    def from_dict(cls, values: JsonObject) -> QualityFigure:
        """The figure from the output of :meth:`as_dict`."""
        return cls(**values)


_OPTIONAL = ("reason", "fewest", "error", "blocks")

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

    def without_interval(self) -> EstimateOutcome:
        """The same, if the estimate had no interval."""
        return replace(self, low=None, high=None, inside=None)


@dataclass(frozen=True)
class Estimate:
    """Quality of the live version as estimated before ground truth, and how accurate the estimate was."""

    method: EstimationMethod
    quality: Quality
    truth: Mapping[str, EstimateOutcome]
    """Metric → outcome on the rows with ground truth."""
    measured_errors: Mapping[str, int] = field(default_factory=dict)
    """Metric → how many earlier windows' errors its interval is made of.

    The estimates of other metrics are conditional on an unchanged relation between inputs and target. Their intervals,
    which only rows of earlier releases of Evergreen have, say nothing about windows in which it changes.
    """

    def figure(self, metric: str) -> QualityFigure | None:
        """The estimate, with an interval if it is made of measured errors; None if there is no estimate."""
        figure = self.quality.get(metric)
        return figure if figure is None or metric in self.measured_errors else replace(figure, low=None, high=None)

    def outcome(self, metric: str) -> EstimateOutcome | None:
        """How accurate the estimate was, with the same interval; None if that is not known."""
        outcome = self.truth.get(metric)
        return outcome if outcome is None or metric in self.measured_errors else outcome.without_interval()

    def coverage(self, metric: str) -> float | None:
        """How often the interval of an estimate made of m errors holds the actual value: m / (m + 1)."""
        errors = self.measured_errors.get(metric)
        return errors / (errors + 1) if errors else None

    def as_dict(self) -> JsonObject:
        """JSON values; ``measured_errors`` only if there are any."""
        truth = {metric: asdict(outcome) for metric, outcome in self.truth.items()}
        values: JsonObject = {"method": self.method, "quality": quality_as_dict(self.quality), "truth": truth}
        return values | ({"measured_errors": dict(self.measured_errors)} if self.measured_errors else {})

    @classmethod
    def from_dict(cls, values: JsonObject) -> Estimate:
        """The estimate from the output of :meth:`as_dict`."""
        truth = {metric: EstimateOutcome(**outcome) for metric, outcome in values["truth"].items()}
        return cls(values["method"], quality_from_dict(values["quality"]), truth, values.get("measured_errors", {}))


def _without_nones(values: JsonObject) -> JsonObject:
    return {name: value for name, value in values.items() if name not in _OPTIONAL or value is not None}
