"""Distances between two binned distributions. Pure arithmetic on counts, over the last axis.

``expected`` and ``observed`` are counts by bin, shape [..., bins]; leading axes broadcast, so that one call scores a
thousand resamples. Bins of ``psi``, ``jensen_shannon``, ``chi_square`` and ``total_variation`` may be in any order and
include one for missing values; ``kolmogorov_smirnov`` and ``wasserstein`` need ordered bins of present values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMOOTHING = 0.5
"""Added to every used bin, so that an empty bin gives a large but finite index."""

TINY = 1e-100
"""Replaces a total of zero, to avoid division by zero."""


def psi(expected: Array, observed: Array) -> Array:
    """Population stability index, 0 to infinity: the symmetrised Kullback-Leibler divergence, in nats.

    Sources: S. Kullback, *Information Theory and Statistics* (Wiley, 1959), chapter 1; N. Siddiqi, *Credit Risk
    Scorecards* (Wiley, 2006). Half a row is added to each used bin; bins that are empty on both sides are ignored.
    """
    used = (expected + observed) > 0
    before = _shares(np.where(used, expected + SMOOTHING, 0))
    now = _shares(np.where(used, observed + SMOOTHING, 0))
    ratio = np.log(np.where(used, now, 1) / np.where(used, before, 1))
    return _total((now - before) * ratio)


def jensen_shannon(expected: Array, observed: Array) -> Array:
    """Jensen-Shannon distance, 0 to 1: the root of the divergence in bits.

    Sources: J. Lin, IEEE Transactions on Information Theory 37 (1991); D. Endres, J. Schindelin, same, 49 (2003).
    """
    before, now = _shares(expected), _shares(observed)
    middle = (before + now) / 2
    divergence = (_relative_entropy(before, middle) + _relative_entropy(now, middle)) / 2
    return np.sqrt(np.maximum(divergence, 0))


def chi_square(expected: Array, observed: Array) -> Array:
    """Pearson's statistic of homogeneity of the two rows of counts, without correction; 0 to infinity.

    Source: K. Pearson, Philosophical Magazine 50 (1900); A. Agresti, *Categorical Data Analysis* (Wiley, 2013), 3.2.
    """
    both = expected + observed
    before = np.maximum(expected.sum(axis=-1, keepdims=True), TINY)
    now = np.maximum(observed.sum(axis=-1, keepdims=True), TINY)
    difference = expected * np.sqrt(now / before) - observed * np.sqrt(before / now)
    return _total(np.divide(difference**2, both, out=np.zeros_like(difference), where=both > 0))


def total_variation(expected: Array, observed: Array, effect: float = 1.0) -> Array:
    """Total variation distance, 0 to 1: the share of rows that would have to change bins, corrected for chance.

    Shares of small samples differ even if nothing has changed, which moves each distance upwards. So the part of
    Pearson's statistic that chance explains, its degrees of freedom, is taken off, as W. Bergsma does for Cramér's V
    (Journal of the Korean Statistical Society 42 (2013)). ``effect`` rows count as one independent row.
    """
    distance = _total(np.abs(_shares(observed) - _shares(expected))) / 2
    freedom = np.maximum(((expected + observed) > 0).sum(axis=-1) - 1, 0)
    found = np.maximum(chi_square(expected, observed), TINY)
    corrected: Array = distance * np.sqrt(np.maximum(1 - effect * freedom / found, 0))
    return corrected


def kolmogorov_smirnov(expected: Array, observed: Array) -> Array:
    """Largest difference of the two distribution functions at the bins' edges, 0 to 1.

    Exact if each bin is one value; otherwise too small by at most the share of one bin.
    Source: N. Smirnov, Annals of Mathematical Statistics 19 (1948).
    """
    largest: Array = np.abs(_gaps(expected, observed)[..., :-1]).max(axis=-1, initial=0.0)
    return largest


def wasserstein(expected: Array, observed: Array, positions: Array, *, steps: bool) -> Array:
    """Earth mover's distance (order 1), in units of the column: the area between the distribution functions.

    ``positions``: with ``steps``, the position of each bin's mass, shape [bins]; otherwise the bins' edges, shape
    [bins + 1], with uniform mass within a bin. Source: C. Villani, *Optimal Transport* (Springer, 2009), remark 6.5.
    """
    gaps, widths = _gaps(expected, observed), np.diff(positions)
    if steps:
        return _total(np.abs(gaps[..., :-1]) * widths)
    right = np.abs(gaps)
    left = np.concatenate([np.zeros_like(right[..., :1]), right[..., :-1]], axis=-1)
    crossing = np.concatenate([np.zeros_like(gaps[..., :1]), gaps[..., :-1]], axis=-1) * gaps < 0
    total = np.where(left + right > 0, left + right, 1)
    area = np.where(crossing, (left**2 + right**2) / (2 * total), (left + right) / 2)
    return _total(area * widths)


def _total(values: Array) -> Array:
    """The sum over the bins (NumPy types it as Any)."""
    total: Array = values.sum(axis=-1)
    return total


def _gaps(expected: Array, observed: Array) -> Array:
    return np.cumsum(_shares(observed) - _shares(expected), axis=-1)


def _shares(counts: Array) -> Array:
    shares: Array = counts / np.maximum(counts.sum(axis=-1, keepdims=True), TINY)
    return shares


def _relative_entropy(share: Array, middle: Array) -> Array:
    ratio = np.where(share > 0, share, 1) / np.where(share > 0, middle, 1)
    return _total(share * np.log2(ratio))
