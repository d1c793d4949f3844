"""The content of a reference profile: the distribution of each column, as counts and bin edges."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]


class Spread(TypedDict):
    """How a column's rows spread over the reference's days and blocks (:mod:`core.drift.spread`)."""

    days: int
    """Days per period: one, or more if the reference has very many."""
    counts: list[list[int]]
    """Rows by merged bin, shape [periods, merged bins], in order, without empty days; missing values last."""
    blocks: bool
    """Whether rows depend on each other by a feature rather than by day."""
    effect: float | None
    """The design effect of these blocks; None for days, or with too few blocks."""


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
    spread: NotRequired[Spread]
    """Absent if rows are independent of each other, and in profiles of before it existed."""


class CategoryDistribution(TypedDict):
    """Rows of a category column by value."""

    kind: Literal["category"]
    counts: dict[str, int]
    """The 50 most frequent values."""
    other: int
    """Rows of all other values."""
    missing: int
    rows: int
    spread: NotRequired[Spread]


Distribution = NumericDistribution | CategoryDistribution


class Profile(TypedDict):
    """The content of ``profile.json``."""

    rows: int
    features: dict[str, Distribution]
    prediction: Distribution


def as_numbers(values: pd.Series) -> Array:
    """The column as floats, shape [n], whatever its dtype; non-numbers become NaN, infinities are kept."""
    return np.asarray(pd.to_numeric(values, errors="coerce"), dtype=float)


def bin_counts(ordered: Array, edges: Array) -> Array:
    """The number of sorted values in each bin, shape [edges + 1]; a value on an edge belongs to the lower bin."""
    return np.diff(np.searchsorted(ordered, edges, side="right"), prepend=0, append=len(ordered))
