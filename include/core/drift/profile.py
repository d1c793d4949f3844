"""The reference profile of a model version: bin edges and counts, without any of the data.

Made once from the data that a version was accepted on and kept with the artifact as ``profile.json``. A window is
counted into the same bins (:mod:`core.drift.counts`) and the two are compared (:mod:`core.drift.columns`).
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
import pandas as pd

from include.core.categories import category_texts
from include.core.spec import FeatureType, ModelSpec

LARGEST_CATEGORIES = 50
FEW_VALUES = 20
"""A numeric column with at most so many different values gets one bin for each, since quantiles would join them."""

QUANTILES = (0, 0.005, 0.01, *(step / 40 for step in range(1, 40)), 0.99, 0.995, 1)
"""Edges of a numeric column: fine enough for distances between distributions, finer where tails are long."""

Array = np.ndarray[Any, Any]


class NumericDistribution(TypedDict):
    """Rows of a number by bin: below the first edge, between the edges, above the last."""

    kind: Literal["numeric"]
    edges: list[float]
    counts: list[int]
    """One more than there are edges."""
    values: NotRequired[list[float]]
    """Where each bin is one value."""
    missing: int
    rows: int


class CategoryDistribution(TypedDict):
    """Rows of a category by value."""

    kind: Literal["category"]
    counts: dict[str, int]
    """The 50 most frequent values."""
    other: int
    """Rows of all other values."""
    missing: int
    rows: int


Distribution = NumericDistribution | CategoryDistribution


class Profile(TypedDict):
    """The content of ``profile.json``."""

    rows: int
    features: dict[str, Distribution]
    prediction: Distribution


def build_profile(frame: pd.DataFrame, spec: ModelSpec, predictions: Any) -> Profile:
    """Reference of every feature in ``frame`` and of ``predictions`` (which may have another length)."""
    return {
        "rows": len(frame),
        "features": {feature.name: _describe(frame[feature.name], feature.type) for feature in spec.features},
        "prediction": _describe(pd.Series(predictions), "number"),
    }


def as_numbers(values: pd.Series) -> Array:
    """The column as floats, shape [n], whatever it came from; what is no number is NaN, infinities stay."""
    return np.asarray(pd.to_numeric(values, errors="coerce"), dtype=float)


def bin_counts(ordered: Array, edges: Array) -> Array:
    """How many of the sorted values lie in each bin, shape [edges + 1]; a value on an edge belongs below it."""
    return np.diff(np.searchsorted(ordered, edges, side="right"), prepend=0, append=len(ordered))


def _describe(values: pd.Series, kind: FeatureType) -> Distribution:
    if kind in ("category", "boolean"):
        text = category_texts(values, kind).dropna()
        counts = {str(value): int(count) for value, count in text.value_counts().head(LARGEST_CATEGORIES).items()}
        return {
            "kind": "category",
            "counts": counts,
            "other": len(text) - sum(counts.values()),
            "missing": len(values) - len(text),
            "rows": len(values),
        }
    numbers = as_numbers(values)
    present = np.sort(numbers[np.isfinite(numbers)])
    edges, few = _edges(present)
    described: NumericDistribution = {
        "kind": "numeric",
        "edges": edges.tolist(),
        "counts": bin_counts(present, edges).tolist(),
        "missing": len(values) - len(present),
        "rows": len(values),
    }
    if few is not None:
        described["values"] = few.tolist()
    return described


def _edges(ordered: Array) -> tuple[Array, Array | None]:
    """Cut points, and the values that they stand around when those are few; else quantiles, first and last value.

    A value belongs to the bin whose upper edge it does not exceed, so the first and the last bin hold
    what lies outside of anything that the reference saw.
    """
    if not len(ordered):
        return np.array([]), None
    distinct = np.unique(ordered)
    with np.errstate(over="ignore", invalid="ignore"):  # of the largest floats; nan_to_num makes them finite again
        if len(distinct) <= FEW_VALUES:
            # Halfway, but below the upper of two neighbouring floats, which rounding may reach.
            between = np.minimum((distinct[1:] + distinct[:-1]) / 2, np.nextafter(distinct[1:], -np.inf))
            margin = np.min(np.diff(distinct)) / 2 if len(distinct) > 1 else max(abs(distinct[0]) * 1e-6, 1e-9)
            below = min(distinct[0] - margin, np.nextafter(distinct[0], -np.inf))
            edges = np.concatenate([[below], between, [distinct[-1] + margin]])
            return np.nan_to_num(edges), distinct
        quantiles = np.quantile(ordered, QUANTILES)
        quantiles[0] = np.nextafter(quantiles[0], -np.inf)
        return np.unique(np.nan_to_num(quantiles)), None
