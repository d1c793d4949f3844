"""The bins in which a column is compared: the reference's fine bins, and the few into which they are merged.

KS needs fine bins. PSI, total variation and the counts by period (:mod:`core.drift.spread`) use about ten merged bins
of a number, and the most frequent categories; more bins mostly add noise.
"""

from __future__ import annotations

import numpy as np

from include.core.drift.distribution import Array, Distribution, NumericDistribution

PSI_BINS = 10
"""For PSI, the quantiles of a numeric column are merged into about ten bins."""
OWN_CATEGORIES = 20
"""In counts by period, this many categories have a bin of their own."""


def reference_counts(reference: Distribution) -> Array:
    """The reference's rows by fine bin, shape [bins]; missing values last."""
    if reference["kind"] == "category":
        return np.array([*reference["counts"].values(), reference["other"], reference["missing"]], dtype=float)
    return np.array([*reference["counts"], reference["missing"]], dtype=float)


def merged_starts(reference: NumericDistribution) -> Array:
    """The first fine bin of each PSI bin; missing values are a bin of their own.

    Values below or above the reference's range belong to its lowest or highest bin; a value that many rows share is
    never split. If there are few values, each keeps its own bin, and so do values below and above them.
    """
    counts = np.asarray(reference["counts"], dtype=float)
    if "values" in reference:
        return np.arange(len(counts) + 1)
    middle = np.cumsum(counts) - counts / 2
    group = np.minimum(middle * PSI_BINS // max(counts.sum(), 1), PSI_BINS - 1)
    return np.array([*np.flatnonzero(np.diff(group, prepend=-1) > 0), len(counts)])


def merge(counts: Array, starts: Array) -> Array:
    """Counts, shape [..., fine bins], added up from each start to the next."""
    return np.add.reduceat(counts, starts, axis=-1)


def period_starts(reference: Distribution) -> Array:
    """The first fine bin of each bin of the counts by period."""
    if reference["kind"] == "numeric":
        return merged_starts(reference)
    listed = len(reference["counts"])
    return np.array([*range(min(listed, OWN_CATEGORIES) + 1), listed + 1])
