"""The health of a window as a record, as the store keeps it, and the incidents that degraded health opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Literal

from include.core.drift.figures import DriftSummary
from include.core.json_types import JsonObject
from include.core.quality.figures import Estimate, Quality, QualityFigure, quality_as_dict, quality_from_dict
from include.core.verdict import Verdict
from include.core.windows import Grain

WindowStatus = Literal["complete", "partial", "waiting", "empty"]


@dataclass(frozen=True)
class FeatureChecks:
    """How many values of a feature are not as the spec and the reference say."""

    missing: int
    type_errors: int
    out_of_range: int
    new_categories: int
    """Values of categories that the reference does not have; 0 where it does not list all of its own."""


@dataclass(frozen=True)
class SkewFigure:
    """One feature as it was served against the source."""

    rows: int
    different: int


@dataclass(frozen=True)
class Skew:
    """Rows as they were served against the same rows, by key, of the data that training reads."""

    rows: int
    """Compared: those that the source has."""
    features: Mapping[str, SkewFigure]
    asked: int
    """Rows that were looked for, a sample of ``of``."""
    of: int

    @classmethod
    def from_dict(cls, values: JsonObject) -> Skew:
        """The comparison as it stands in a health row."""
        return cls(**{**values, "features": {name: SkewFigure(**one) for name, one in values["features"].items()}})


@dataclass(frozen=True)
class RowCount:
    """The number of predictions of a window against those of earlier windows."""

    rows: int
    windows: int
    """Earlier windows that were looked at."""
    median: float | None = None
    low: float | None = None
    high: float | None = None
    """Of the earlier windows; between ``low`` and ``high`` a window is usual."""
    finding: str | None = None
    """A sentence where it is not usual."""
    not_judged: str | None = None
    """Why that can't be said."""


@dataclass(frozen=True)
class DataQuality:
    """What of a window's values is not as it should be."""

    rows: int
    row_count: RowCount | None
    repeats: int
    """Rows that were logged twice and counted once."""
    repeated_keys: int
    """Rows whose key had an answer before."""
    newest: str | None
    """Newest event, ISO 8601."""
    hours_old: float | None
    features: Mapping[str, FeatureChecks]
    skew: Skew | None
    findings: tuple[str, ...]
    """A sentence for each check that does not hold."""

    def as_dict(self) -> JsonObject:
        """JSON values."""
        return {**asdict(self), "findings": list(self.findings)}

    @classmethod
    def from_dict(cls, values: JsonObject) -> DataQuality:
        """The data quality that was written with :meth:`as_dict`."""
        row_count, skew = values["row_count"], values["skew"]
        read = {
            "row_count": None if row_count is None else RowCount(**row_count),
            "features": {name: FeatureChecks(**one) for name, one in values["features"].items()},
            "skew": None if skew is None else Skew.from_dict(skew),
            "findings": tuple(values["findings"]),
        }
        return cls(**{**values, **read})


@dataclass(frozen=True)
class VersionTraffic:
    """What a version answered."""

    requests: int
    rows: int


@dataclass(frozen=True)
class ServiceFigures:
    """Requests of a window, and what the log and the truth had of them."""

    requests: int
    duplicates: int
    """Rows that were logged twice and counted once."""
    truth_unknown: int
    """Truths of keys that nobody asked for."""
    truth_conflicts: int
    """Keys with two different truths."""
    versions: Mapping[str, VersionTraffic]
    torn_lines: int = 0
    broken_lines: int = 0
    """Of the log, in the gathering before the window was measured."""

    @classmethod
    def from_dict(cls, values: JsonObject) -> ServiceFigures:
        """The figures as they stand in a health row."""
        return cls(**{**values, "versions": {name: VersionTraffic(**one) for name, one in values["versions"].items()}})


@dataclass(frozen=True)
class HealthRow:
    """Quality, drift and service figures of one window of a model."""

    window: str
    grain: Grain
    versions: tuple[str, ...]
    live_version: str | None
    """The version that answered most of the window's predictions."""
    predictions: int
    rows: int
    """Predictions with truth."""
    truth_share: float
    truth_problem: str | None
    status: WindowStatus
    due: bool
    """Whether the window is over and the truth's delay has passed."""
    metric: str
    """``metrics.primary`` when it was measured."""
    quality: Quality
    by_version: Mapping[str, Quality]
    slices: Mapping[str, Quality]
    reference: Mapping[str, float | None]
    """Metric → its value on the live version's holdout."""
    estimate: Estimate | None
    drift: DriftSummary
    data_quality: DataQuality
    service: ServiceFigures
    report: str = ""
    """Path of its page."""
    run_id: str = ""
    """Dag run that measured it."""
    recorded: float | None = field(default=None, compare=False)
    """When the store got it (epoch seconds); not a part of its JSON."""

    @property
    def live_quality(self) -> Quality:
        """The metrics of the live version; empty where there is none."""
        return self.by_version.get(self.live_version or "", {})

    def live_figure(self, metric: str) -> QualityFigure | None:
        """One metric of the live version; None where there is none."""
        return self.live_quality.get(metric)

    def estimated(self, metric: str) -> QualityFigure | None:
        """The metric of the live version as it was estimated before truth; None where it was not."""
        return self.estimate.quality.get(metric) if self.estimate else None

    def as_dict(self) -> JsonObject:
        """JSON values, as the store and the file beside the page have them."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "recorded"}
        return plain | {
            "versions": list(self.versions),
            "quality": quality_as_dict(self.quality),
            "by_version": {name: quality_as_dict(quality) for name, quality in self.by_version.items()},
            "slices": {name: quality_as_dict(quality) for name, quality in self.slices.items()},
            "reference": dict(self.reference),
            "estimate": self.estimate.as_dict() if self.estimate else None,
            "drift": self.drift.as_dict(),
            "data_quality": self.data_quality.as_dict(),
            "service": asdict(self.service),
        }

    @classmethod
    def from_dict(cls, values: JsonObject, recorded: float | None = None) -> HealthRow:
        """The row that was written with :meth:`as_dict`."""
        read = {
            "versions": tuple(values["versions"]),
            "quality": quality_from_dict(values["quality"]),
            "by_version": {name: quality_from_dict(one) for name, one in values["by_version"].items()},
            "slices": {name: quality_from_dict(one) for name, one in values["slices"].items()},
            "estimate": None if values["estimate"] is None else Estimate.from_dict(values["estimate"]),
            "drift": DriftSummary.from_dict(values["drift"]),
            "data_quality": DataQuality.from_dict(values["data_quality"]),
            "service": ServiceFigures.from_dict(values["service"]),
        }
        return cls(**{**values, **read}, recorded=recorded)


@dataclass(frozen=True)
class Incident:
    """One episode of degradation; it causes at most one retraining."""

    key: str
    """``flights-2013-05``: model and the window that confirmed it."""
    window: str
    verdict: Verdict
    recorded: float = 0.0
    """When it was opened (epoch seconds)."""
