"""What lists show of a window: the few figures of its health that are read for many models at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from include.core.health.record import HealthRow, WindowStatus
from include.core.json_types import JsonObject
from include.core.quality.figures import QualityFigure

NAMED_COLUMNS = 20
"""At most this many drifted columns are named; the window's page has all of them."""


@dataclass(frozen=True)
class WindowSummary:
    """The figures of a window's live version in the primary metric, and what else decides how the model is doing."""

    window: str
    status: WindowStatus
    due: bool
    version: str | None
    """The live version."""
    predictions: int
    rows: int
    """The live version's predictions with ground truth."""
    metric: str
    value: float | None
    low: float | None
    high: float | None
    """The live version's figure with its interval."""
    estimate: float | None
    """The same figure as estimated before ground truth."""
    reference: float | None
    """The metric on the live version's holdout."""
    drifted: tuple[str, ...]
    findings: int
    """Failed checks of data quality."""
    problem: str
    """Why the window could not be measured."""
    truth_problem: str
    """Why it has no ground truth."""
    reason: str
    """Why it has no value of the metric."""
    fewest: int | None = None
    """How many of the rows are of the rarer class; None for a regression, and in summaries of earlier releases."""
    error: float | None = None
    """Standard error of the value; None if it can't be told from the window's own rows."""
    holdout: QualityFigure | None = None
    """The metric on the live version's holdout with its standard error; None in summaries of earlier releases."""

    @classmethod
    def of(cls, row: HealthRow, metric: str | None = None) -> WindowSummary:
        """The summary of a health row, in this metric (default: the primary one when it was measured)."""
        metric = metric or row.metric
        figure = row.live_figure(metric) or QualityFigure(None)
        estimated = row.estimated(metric)
        return cls(
            window=row.window,
            status=row.status,
            due=row.due,
            version=row.live_version,
            predictions=row.predictions,
            rows=figure.n,
            metric=metric,
            value=figure.value,
            low=figure.low,
            high=figure.high,
            estimate=estimated.value if estimated else None,
            reference=row.reference.get(metric),
            drifted=tuple(row.drift.drifted[:NAMED_COLUMNS]),
            findings=len(row.data_quality.findings),
            problem=row.problem,
            truth_problem=row.truth_problem or "",
            reason=figure.reason or "",
            fewest=figure.fewest,
            error=figure.error,
            holdout=row.holdout.get(metric),
        )

    def as_dict(self) -> JsonObject:
        """JSON values."""
        holdout = self.holdout.as_dict() if self.holdout else None
        return asdict(self) | {"drifted": list(self.drifted), "holdout": holdout}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> WindowSummary:
        """The summary from the output of :meth:`as_dict`."""
        known: JsonObject = {name: values[name] for name in _NAMES if name in values}
        holdout = known.get("holdout")
        read = {"holdout": QualityFigure.from_dict(holdout) if holdout else None}
        return cls(**{**known, **read, "drifted": tuple(known["drifted"])})


_NAMES = tuple(one.name for one in fields(WindowSummary))
