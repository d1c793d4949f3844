"""Records of a window's health, as stored, and of the incidents that degraded health opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Literal

from include.core.drift.figures import DriftSummary
from include.core.json_types import JsonObject, with_present_names
from include.core.quality.figures import Estimate, Quality, QualityFigure, quality_as_dict, quality_from_dict
from include.core.verdict import Verdict
from include.core.windows import Grain

WindowStatus = Literal["complete", "partial", "waiting", "empty"]


@dataclass(frozen=True)
class FeatureChecks:
    """Numbers of a feature's values that violate the spec or are missing from the reference."""

    missing: int
    type_errors: int
    out_of_range: int
    new_categories: int
    """Values whose category is not in the reference; 0 if the reference does not list all of its categories."""


@dataclass(frozen=True)
class SkewFigure:
    """Differences between one feature as served and in the source."""

    rows: int
    different: int


@dataclass(frozen=True)
class Skew:
    """Differences between rows as served and the same rows, by key, of the data that training reads."""

    rows: int
    """Compared rows, those found in the source."""
    features: Mapping[str, SkewFigure]
    asked: int
    """Rows that were looked up, a sample of ``of``."""
    of: int

    @classmethod
    def from_dict(cls, values: JsonObject) -> Skew:
        """The comparison from a health row's JSON."""
        return cls(**{**values, "features": {name: SkewFigure(**one) for name, one in values["features"].items()}})


@dataclass(frozen=True)
class RowCount:
    """The number of predictions in a window, compared with earlier windows."""

    rows: int
    windows: int
    """Number of earlier windows considered."""
    median: float | None = None
    low: float | None = None
    high: float | None = None
    """Median of the earlier windows, and the range of usual counts."""
    finding: str | None = None
    """A sentence if the count is unusual."""
    not_judged: str | None = None
    """Why the count could not be judged."""


@dataclass(frozen=True)
class DataQuality:
    """The results of a window's data quality checks."""

    rows: int
    row_count: RowCount | None
    repeats: int
    """Rows that were logged more than once; each is counted once."""
    repeated_keys: int
    """Rows whose key had already been predicted."""
    newest: str | None
    """Timestamp of the newest event, ISO 8601."""
    hours_old: float | None
    features: Mapping[str, FeatureChecks]
    skew: Skew | None
    findings: tuple[str, ...]
    """A sentence for each failed check."""

    def as_dict(self) -> JsonObject:
        """JSON values."""
        return {**asdict(self), "findings": list(self.findings)}

    @classmethod
    def from_dict(cls, values: JsonObject) -> DataQuality:
        """The data quality from the output of :meth:`as_dict`."""
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
    """The traffic that a version served."""

    requests: int
    rows: int


@dataclass(frozen=True)
class ServiceFigures:
    """Counts of a window's requests, and of irregularities in the prediction log and the ground truth."""

    requests: int
    duplicates: int
    """Rows that were logged more than once; each is counted once."""
    truth_unknown: int
    """Ground truth values whose key has no prediction."""
    truth_conflicts: int
    """Keys with contradictory ground truth."""
    versions: Mapping[str, VersionTraffic]
    truncated_lines: int = 0
    malformed_lines: int = 0
    """Lines of the prediction log, from the gathering before the window was measured."""

    @classmethod
    def from_dict(cls, values: JsonObject) -> ServiceFigures:
        """The figures from a health row's JSON."""
        values = with_present_names(values)
        return cls(**{**values, "versions": {name: VersionTraffic(**one) for name, one in values["versions"].items()}})


@dataclass(frozen=True)
class HealthRow:
    """Quality, drift and service figures of one window of a model."""

    window: str
    grain: Grain
    versions: tuple[str, ...]
    live_version: str | None
    """The version that made most of the window's predictions."""
    predictions: int
    rows: int
    """Predictions with ground truth."""
    truth_share: float
    truth_problem: str | None
    status: WindowStatus
    due: bool
    """Whether the window is over and the delay of its ground truth has passed."""
    metric: str
    """``metrics.primary`` at the time of measurement."""
    quality: Quality
    by_version: Mapping[str, Quality]
    slices: Mapping[str, Quality]
    reference: Mapping[str, float | None]
    """Metric → its value on the live version's holdout."""
    estimate: Estimate | None
    drift: DriftSummary
    data_quality: DataQuality
    service: ServiceFigures
    holdout: Quality = field(default_factory=dict)
    """The live version's figures on its holdout, with their standard errors; empty in rows of earlier releases."""
    spec_change: str = ""
    """How model.yaml differed from what the live version was made with, in words; empty if it did not."""
    problem: str = ""
    """Why the window could not be measured (again); the figures, if any, are of an earlier measurement."""
    report: str = ""
    """Path of the window's page."""
    run_id: str = ""
    """Dag run that measured it."""
    recorded: float | None = field(default=None, compare=False)
    """When it was stored (epoch seconds); not part of the JSON."""

    @property
    def live_quality(self) -> Quality:
        """The metrics of the live version; empty if there is none."""
        return self.by_version.get(self.live_version or "", {})

    def measured(self) -> str:
        """The primary metric of the live version in words, and of all versions together if several have served."""
        live = self.live_figure(self.metric)
        text = f"{self.metric} {_in_words(live)}"
        if len(self.versions) < 2:
            return text
        return f"{text} for version {self.live_version} ({_in_words(self.quality.get(self.metric))} for all versions)"

    def live_figure(self, metric: str) -> QualityFigure | None:
        """One metric of the live version, or None."""
        return self.live_quality.get(metric)

    def estimated(self, metric: str) -> QualityFigure | None:
        """The live version's metric as estimated before ground truth, or None."""
        return self.estimate.figure(metric) if self.estimate else None

    def as_dict(self) -> JsonObject:
        """JSON values, as in the store and in the file next to the page."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "recorded"}
        return plain | {
            "versions": list(self.versions),
            "quality": quality_as_dict(self.quality),
            "by_version": {name: quality_as_dict(quality) for name, quality in self.by_version.items()},
            "slices": {name: quality_as_dict(quality) for name, quality in self.slices.items()},
            "reference": dict(self.reference),
            "holdout": quality_as_dict(self.holdout),
            "estimate": self.estimate.as_dict() if self.estimate else None,
            "drift": self.drift.as_dict(),
            "data_quality": self.data_quality.as_dict(),
            "service": asdict(self.service),
        }

    @classmethod
    def from_dict(cls, values: JsonObject, recorded: float | None = None) -> HealthRow:
        """The row from the output of :meth:`as_dict`."""
        read = {
            "versions": tuple(values["versions"]),
            "quality": quality_from_dict(values["quality"]),
            "by_version": {name: quality_from_dict(one) for name, one in values["by_version"].items()},
            "slices": {name: quality_from_dict(one) for name, one in values["slices"].items()},
            "holdout": quality_from_dict(values.get("holdout", {})),
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
    """Model and the window that confirmed the incident, for example ``flights-2013-05``."""
    window: str
    verdict: Verdict
    recorded: float = 0.0
    """When it was opened (epoch seconds)."""


def estimate_errors_before(window: str, grain: Grain, history: Sequence[HealthRow]) -> dict[str, list[float]]:
    """Metric → actual minus estimated value in the complete windows before ``window``, oldest first as ``history`` is.

    Errors of the model's earlier versions count: each version is estimated in the same way.
    """
    errors: dict[str, list[float]] = {}
    for row in history:
        if row.window < window and row.grain == grain and row.status == "complete" and row.estimate:
            for metric, outcome in row.estimate.truth.items():
                errors.setdefault(metric, []).append(outcome.difference)
    return errors


def _in_words(figure: QualityFigure | None) -> str:
    return "not measured" if figure is None or figure.value is None else f"{figure.value:.4g}"
