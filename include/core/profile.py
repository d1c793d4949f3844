"""The reference profile of a model version: bin edges and counts, without any of the data.

Made once from the data that a version was accepted on and kept with the artifact as ``profile.json``; each window is
held against it with the population stability index (PSI), the symmetrised Kullback-Leibler divergence of two binned
distributions: S. Kullback, *Information Theory and Statistics* (Wiley, 1959), chapter 1; N. Siddiqi, *Credit Risk
Scorecards* (Wiley, 2006).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from include.core.spec import FeatureType, ModelSpec

LARGEST_CATEGORIES = 50
FEW_VALUES = 20
"""A numeric column with at most so many different values gets one bin for each, since deciles would join them."""

SMOOTHING = 0.5
"""Added to every bin, so that an empty one gives a large but finite index."""

Distribution = dict[str, Any]


def build_profile(frame: pd.DataFrame, spec: ModelSpec, predictions: Any) -> dict[str, Any]:
    """Reference of every feature in ``frame`` and of ``predictions`` (which may have another length).

    Returns JSON values only: ``{"rows", "features": {name: distribution}, "prediction": distribution}``. A
    distribution is ``{"kind": "numeric", "edges", "counts", "missing", "rows"}`` with one more count than there are
    edges (below the first edge, between, above the last), or ``{"kind": "category", "counts": {value: n},
    "other", "missing", "rows"}`` with the 50 most frequent values.
    """
    return {
        "rows": len(frame),
        "features": {feature.name: _describe(_normal(frame[feature.name], feature.type)) for feature in spec.features},
        "prediction": _describe(_normal(pd.Series(predictions), "number")),
    }


def drift(
    profile: Mapping[str, Any], frame: pd.DataFrame, spec: ModelSpec, *, prediction: str = "prediction"
) -> dict[str, Any]:
    """PSI of every feature and of the prediction in ``frame`` against the profile.

    Returns ``{"features": {name: {"psi", "missing", "reference_missing"}}, "prediction": {"psi"}}``, where the
    two missing figures are shares from 0 to 1. A figure is None where there are no rows or no reference.
    """
    features = {}
    for feature in spec.features:
        reference = profile.get("features", {}).get(feature.name)
        column = frame[feature.name] if feature.name in frame else pd.Series(dtype="object")
        features[feature.name] = {
            "psi": psi(reference, column, feature.type),
            "missing": float(_normal(column, feature.type).isna().mean()) if len(column) else None,
            "reference_missing": reference["missing"] / reference["rows"] if reference and reference["rows"] else None,
        }
    predictions = frame[prediction] if prediction in frame else pd.Series(dtype=float)
    return {"features": features, "prediction": {"psi": psi(profile.get("prediction"), predictions, "number")}}


def psi(reference: Mapping[str, Any] | None, values: pd.Series, kind: FeatureType = "number") -> float | None:
    """Population stability index of ``values`` against one distribution of a profile; 0 is 'the same'.

    Missing values are a bin of their own, so that a column that goes blank is drift. None without rows or reference.
    """
    if reference is None or not reference["rows"] or not len(values):
        return None
    expected = _counts(reference)
    found = _counts(_describe(_normal(values, kind), like=reference))
    used = (expected + found) > 0  # a bin that both leave empty says nothing
    expected, found = expected[used] + SMOOTHING, found[used] + SMOOTHING
    before, now = expected / expected.sum(), found / found.sum()
    return float(np.sum((now - before) * np.log(now / before)))


def _counts(distribution: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    counts = distribution["counts"]
    if distribution["kind"] == "category":
        return np.array([*counts.values(), distribution["other"], distribution["missing"]], dtype=float)
    return np.array([*counts, distribution["missing"]], dtype=float)


def _describe(values: pd.Series, like: Mapping[str, Any] | None = None) -> Distribution:
    present = values.dropna()
    counted = {"missing": int(len(values) - len(present)), "rows": len(values)}
    numeric = like["kind"] == "numeric" if like else values.dtype == float
    if not numeric:
        frequent = present.value_counts()
        kept = list(like["counts"]) if like else [str(value) for value in frequent.index[:LARGEST_CATEGORIES]]
        counts = {value: int(frequent.get(value, 0)) for value in kept}
        return {"kind": "category", "counts": counts, "other": int(len(present) - sum(counts.values())), **counted}
    edges = np.array(like["edges"] if like else _edges(present.to_numpy()), dtype=float)
    bins = np.bincount(np.searchsorted(edges, present.to_numpy(), side="left"), minlength=len(edges) + 1)
    return {"kind": "numeric", "edges": edges.tolist(), "counts": bins.tolist(), **counted}


def _edges(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Cut points: around each value when they are few, else deciles with the smallest and largest value.

    A value belongs to the bin whose upper edge it does not exceed, so the first and the last bin hold
    what lies outside of anything that the reference saw.
    """
    if not len(values):
        return np.array([])
    distinct = np.unique(values)
    if len(distinct) <= FEW_VALUES:
        between = (distinct[1:] + distinct[:-1]) / 2
        margin = np.min(np.diff(distinct)) / 2 if len(distinct) > 1 else max(abs(distinct[0]) * 1e-6, 1e-9)
        return np.concatenate([[distinct[0] - margin], between, [distinct[-1] + margin]])
    deciles = np.quantile(values, np.linspace(0, 1, 11))
    deciles[0] = np.nextafter(deciles[0], -np.inf)
    return np.unique(deciles)


def _normal(values: pd.Series, kind: FeatureType) -> pd.Series:
    """One form for data that came from Parquet, CSV, SQL or JSON: floats, or text; infinity counts as missing."""
    if kind in ("integer", "number"):
        numbers = pd.to_numeric(values, errors="coerce").astype(float)
        return numbers.where(np.isfinite(numbers))
    text = values.astype("object").where(values.notna(), None)
    if kind == "boolean":
        text = text.map(lambda value: None if value is None else str(value).lower() in ("true", "1", "1.0"))
    return text.map(lambda value: None if value is None else str(value)).astype("object")
