"""The reference profile of a model version: bin edges and counts, without any of the data.

Built once from the data that a version was trained and evaluated on, and stored with the artifact as ``profile.json``.
A window is counted in the same bins (:mod:`core.drift.counts`) and compared (:mod:`core.drift.columns`).
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
import pandas as pd

from include.core.categories import category_texts, with_boolean_texts
from include.core.spec import FeatureType, ModelSpec

MAX_CATEGORIES = 50
FEW_VALUES = 20
"""A numeric column with at most this many distinct values has one bin per value; quantiles would merge them."""

QUANTILES = (0, 0.005, 0.01, *(step / 40 for step in range(1, 40)), 0.99, 0.995, 1)
"""Bin edges of a numeric column: fine enough for distances between distributions, and finer in the tails."""

Array = np.ndarray[Any, Any]


class NumericDistribution(TypedDict):
    """Rows of a numeric column by bin: below the first edge, between the edges, above the last."""

    kind: Literal["numeric"]
    edges: list[float]
    counts: list[int]
    """One more than the number of edges."""
    values: NotRequired[list[float]]
    """The value of each bin, if each bin is one value."""
    missing: int
    rows: int


class CategoryDistribution(TypedDict):
    """Rows of a category column by value."""

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
    """The distributions of every feature in ``frame`` and of ``predictions`` (which may differ in length)."""
    return {
        "rows": len(frame),
        "features": {feature.name: _describe(frame[feature.name], feature.type) for feature in spec.features},
        "prediction": _describe(pd.Series(predictions), "number"),
    }


def read_profile(document: Profile, spec: ModelSpec) -> Profile:
    """The profile with the values of boolean features in the form that windows are counted in.

    A feature that the spec gives another type than the profile has no distribution: it can't be compared.
    """
    numeric = {feature.name: feature.type in ("integer", "number") for feature in spec.features}
    booleans = {feature.name for feature in spec.features if feature.type == "boolean"}

    def read(name: str, stored: Distribution) -> Distribution:
        if name in booleans and stored["kind"] == "category":
            return {**stored, "counts": with_boolean_texts(stored["counts"])}
        return stored

    return {
        **document,
        "features": {
            name: read(name, stored)
            for name, stored in document["features"].items()
            if numeric.get(name, stored["kind"] == "numeric") == (stored["kind"] == "numeric")
        },
    }


def as_numbers(values: pd.Series) -> Array:
    """The column as floats, shape [n], whatever its dtype; non-numbers become NaN, infinities are kept."""
    return np.asarray(pd.to_numeric(values, errors="coerce"), dtype=float)


def bin_counts(ordered: Array, edges: Array) -> Array:
    """The number of sorted values in each bin, shape [edges + 1]; a value on an edge belongs to the lower bin."""
    return np.diff(np.searchsorted(ordered, edges, side="right"), prepend=0, append=len(ordered))


def _describe(values: pd.Series, kind: FeatureType) -> Distribution:
    if kind in ("category", "boolean"):
        text = category_texts(values, kind).dropna()
        counts = {str(value): int(count) for value, count in text.value_counts().head(MAX_CATEGORIES).items()}
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
    """The edges: around each value (also returned) if there are few, otherwise quantiles from minimum to maximum.

    A value belongs to the bin whose upper edge it does not exceed, so the first and the last bin hold values outside
    the reference's range.
    """
    if not len(ordered):
        return np.array([]), None
    distinct = np.unique(ordered)
    with np.errstate(over="ignore", invalid="ignore"):  # for the largest floats; nan_to_num makes them finite again
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
