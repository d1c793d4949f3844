"""Health rows and incidents for tests of what is done with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from include.core.drift.figures import DriftFigure, DriftSummary, MultivariateFigure
from include.core.health.record import DataQuality, HealthRow, Incident, ServiceFigures
from include.core.quality.figures import QualityFigure
from include.core.verdict import Verdict

EMPTY = HealthRow(
    window="2013-05",
    grain="month",
    versions=(),
    live_version=None,
    predictions=0,
    rows=0,
    truth_share=0.0,
    truth_problem=None,
    status="empty",
    due=True,
    metric="roc_auc",
    quality={},
    by_version={},
    slices={},
    reference={},
    estimate=None,
    drift=DriftSummary({}, DriftFigure(), MultivariateFigure("unknown"), (), "unknown", 0.05, 0.02),
    data_quality=DataQuality(
        rows=0,
        row_count=None,
        repeats=0,
        repeated_keys=0,
        newest=None,
        hours_old=None,
        features={},
        skew=None,
        findings=(),
    ),
    service=ServiceFigures(requests=0, duplicates=0, truth_unknown=0, truth_conflicts=0, versions={}),
)


def health_row(
    window: str, value: float | None, *, version: str = "1", metric: str = "roc_auc", n: int = 500, **changes: Any
) -> HealthRow:
    """A complete window whose live version has this value of the metric, 0.8 on its holdout, both measured well."""
    quality = {metric: QualityFigure(value, n=n, error=0.004)}
    row = replace(EMPTY, window=window, status="complete", metric=metric, predictions=n, rows=n, truth_share=1.0)
    row = replace(row, versions=(version,), live_version=version, reference={metric: 0.8})
    row = replace(row, holdout={metric: QualityFigure(0.8, n=2000, error=0.004, blocks=14)})
    return replace(row, **{"quality": quality, "by_version": {version: quality}, **changes})


def with_drift(row: HealthRow, columns: Mapping[str, DriftFigure], *drifted: str) -> HealthRow:
    """The row with this drift of its features and its ``prediction``."""
    features = {name: figure for name, figure in columns.items() if name != "prediction"}
    drift = replace(row.drift, features=features, prediction=columns["prediction"], drifted=drifted)
    return replace(row, drift=drift)


def incident(window: str, model: str = "late") -> Incident:
    """An incident of the window."""
    return Incident(f"{model}-{window}", window, Verdict("fail", "degraded"))
