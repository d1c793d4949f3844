"""The reference profile of a model version: bin edges and counts, without any of the data.

Built once from the data that a version was trained and evaluated on, and stored with the artifact as ``profile.json``.
A window is counted in the same bins (:mod:`core.drift.counts`) and compared (:mod:`core.drift.columns`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from include.core.categories import category_texts, with_boolean_texts
from include.core.drift.distribution import (
    Array,
    CategoryDistribution,
    Distribution,
    NumericDistribution,
    Profile,
    as_numbers,
    bin_counts,
)
from include.core.drift.spread import measure_spread
from include.core.quality.blocks import DAY, NONE, blocks_of
from include.core.spec import FeatureType, ModelSpec

MAX_CATEGORIES = 50
LEAST_LISTED = 5
"""If there are more categories, only those with this many rows in the half that they are chosen on are listed."""
FEW_VALUES = 20
"""A numeric column with at most this many distinct values has one bin per value; quantiles would merge them."""

QUANTILES = (0, 0.005, 0.01, *(step / 40 for step in range(1, 40)), 0.99, 0.995, 1)
"""Bin edges of a numeric column: fine enough for distances between distributions, and finer in the tails."""


def build_profile(
    frame: pd.DataFrame, spec: ModelSpec, predictions: Any, predicted: pd.DataFrame | None = None
) -> Profile:
    """The distributions of every feature in ``frame`` and of ``predictions`` (which may differ in length).

    ``predicted`` are the rows of the predictions. Where rows depend on each other (``data.dependence``) and the column
    of the event timestamp is there, each distribution also has its spread over days and blocks.
    """
    own, other = _rows_of(frame, spec), _rows_of(predicted, spec)
    return {
        "rows": len(frame),
        "features": {feature.name: _describe(frame[feature.name], feature.type, own) for feature in spec.features},
        "prediction": _describe(pd.Series(predictions), "number", other),
    }


@dataclass(frozen=True)
class _Rows:
    """When rows happened, and which of them depend on each other."""

    times: pd.Series
    blocks: Array | None
    """Block of each row, if it is not its day."""
    half: Array
    """Whether a row is in the first half: rows alternate, or whole blocks if these are not days."""


def _rows_of(frame: pd.DataFrame | None, spec: ModelSpec) -> _Rows | None:
    time, dependence = spec.data.event_time, spec.data.dependence
    if frame is None or time not in frame or dependence == NONE or not (dependence == DAY or dependence in frame):
        return None
    blocks = blocks_of(frame, spec, time)
    assert blocks is not None, "rows are not independent"
    if dependence == DAY:
        return _Rows(frame[time], None, np.arange(len(frame)) % 2 == 0)
    return _Rows(frame[time], blocks, blocks % 2 == 0)


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


def _describe(values: pd.Series, kind: FeatureType, rows: _Rows | None) -> Distribution:
    described = _categories(values, kind, rows) if kind in ("category", "boolean") else _numbers(values)
    if rows is not None and len(values):
        described["spread"] = measure_spread(values, kind, described, rows.times, rows.blocks)
    return described


def _categories(values: pd.Series, kind: FeatureType, rows: _Rows | None) -> CategoryDistribution:
    """The counts of the most frequent categories.

    Of more than MAX_CATEGORIES, the frequent ones are chosen on one half of the rows and counted on the other: on the
    rows that made it frequent, a category seems more frequent than it is, and would drift in every window.
    """
    texts = category_texts(values, kind)
    tally = texts.dropna().value_counts()
    if len(tally) > MAX_CATEGORIES:
        half = np.arange(len(values)) % 2 == 0 if rows is None else rows.half
        if 0 < half.sum() < len(half):
            chosen = texts[half].dropna().value_counts().head(MAX_CATEGORIES)
            texts = texts[~half]
            tally = texts.dropna().value_counts().reindex(chosen.index[chosen >= LEAST_LISTED], fill_value=0)
        tally = tally.sort_values(ascending=False, kind="stable").head(MAX_CATEGORIES)
    counts = {str(value): int(count) for value, count in tally.items()}
    present = int(texts.notna().sum())
    return {
        "kind": "category",
        "counts": counts,
        "other": present - sum(counts.values()),
        "missing": len(texts) - present,
        "rows": len(texts),
    }


def _numbers(values: pd.Series) -> NumericDistribution:
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
