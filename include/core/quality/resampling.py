"""The bootstrap: resamples of rows, or of whole blocks of rows that depend on each other, and intervals from them.

B. Efron, R. Tibshirani, *An Introduction to the Bootstrap* (Chapman & Hall, 1993). Rows of one day, session or turbine
resemble each other; resampling them one by one would pretend to know more than they tell. So whole blocks are drawn
(the cluster bootstrap: A. C. Davison, D. V. Hinkley, *Bootstrap Methods and their Application*, 1997, section 3.8). Few
blocks vary less among resamples than they do: with k blocks, distances from the value are multiplied by
sqrt(k / (k - 1)), and Student's t with k - 1 degrees of freedom replaces the normal distribution (A. C. Cameron,
J. B. Gelbach, D. L. Miller, "Bootstrap-Based Improvements for Inference with Clustered Errors", The Review of Economics
and Statistics 90, 2008).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import ndtri, stdtrit

from include.core.quality.metrics import Array, Interval, Measure

Bounds = tuple[float | None, float | None]
"""Lower and upper bound of an interval; None if there is none."""
Draw = Callable[[np.random.Generator], Array]
"""Draws one resample: how often each entry of the measures' arrays was drawn, shape [entries]."""


def draw_rows(rows: Array) -> Draw:
    """Resamples of independent rows; ``rows`` is the number of rows that each entry stands for."""
    whole = int(rows.sum())
    if whole == len(rows):
        return lambda random: np.bincount(random.integers(0, whole, whole, dtype=np.int32), minlength=whole).astype(
            float
        )
    return lambda random: random.multinomial(whole, rows / whole).astype(float)


def draw_blocks(block: Array, entry: Array | None = None, entries: int = 0) -> Draw:
    """Resamples of whole blocks; ``block`` is the number (0, 1, ...) of each row's block, shape [n].

    ``entry``: the entry that stands for the row, if a row is not an entry of its own, and the number of ``entries``.
    """
    count = int(block.max()) + 1

    def times(random: np.random.Generator) -> Array:
        drawn: Array = np.bincount(random.integers(0, count, count), minlength=count).astype(float)
        return drawn

    if entry is None:
        return lambda random: times(random)[block]
    matrix = csr_matrix((np.ones(len(block)), (block, entry)), shape=(count, entries))
    return lambda random: matrix.T @ times(random)


def bootstrap(measures: list[Measure], draw: Draw, resamples: int, seed: int) -> Array:
    """Values of each measure on ``resamples`` resamples, shape [measures, resamples]; the same draws for all."""
    random = np.random.default_rng(seed)
    drawn = np.empty((len(measures), resamples))
    for column in range(resamples):
        counts = draw(random)
        for row, measure in enumerate(measures):
            drawn[row, column] = measure(counts)
    return drawn


def interval(values: Array, confidence: float, ends: Interval = "percentile", value: float = 0.0) -> Bounds:
    """The interval from the values of resamples; none if most could not be measured (too few rows of one class).

    ``percentile``: their quantiles, the k-th of B at k / (B + 1). ``less_bias``, for metrics that chance can only
    increase beyond ``value``: see :mod:`include.core.quality.evaluation`; never below 0, and always including the
    value.
    """
    finite = values[np.isfinite(values)]
    if 2 * len(finite) < len(values) or not len(finite):
        return None, None
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2], method="weibull")
    if ends == "less_bias":
        low, high = max(2 * value - high, 0.0), max(high - (finite.mean() - value), value)
    return float(low), float(high)


def widened(bounds: Bounds, value: float, blocks: int, confidence: float) -> Bounds:
    """The interval of ``value`` from resamples of this many blocks, as wide as so few of them require.

    None for a single block, which says nothing about how blocks differ.
    """
    low, high = bounds
    if blocks < 2 or low is None or high is None:
        return None, None
    factor = _widening(blocks, confidence)
    return value - factor * max(value - low, 0.0), value + factor * max(high - value, 0.0)


def wilson(share: float, rows: int, confidence: float, drawn: Bounds, *, independent: bool) -> Bounds:
    """Wilson's interval of a share of ``rows`` rows, also if all of them or none count.

    E. B. Wilson, Journal of the American Statistical Association 22 (1927). Rows that depend on each other count as
    fewer: as many as would make a plain interval as wide as ``drawn``, that of their blocks. None if that is None.
    """
    if drawn[0] is None or drawn[1] is None or not rows:
        return None, None
    z = float(ndtri((1 + confidence) / 2))
    variance = share * (1 - share) / rows
    if not independent and variance > 0:
        rows_worth = min(1.0, variance / max(((drawn[1] - drawn[0]) / 2 / z) ** 2, 1e-300))
    else:
        rows_worth = 1.0
    n = max(rows * rows_worth, 1.0)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def standard_error(value: float, bounds: Bounds, blocks: int | None, confidence: float) -> float | None:
    """The standard error that an interval of ``value`` stands for; of its longer side, as bounds may be clipped.

    ``blocks``: how many blocks of rows it was drawn from; None for independent rows.
    """
    low, high = bounds
    if low is None or high is None or blocks == 1:
        return None
    tail = (1 + confidence) / 2
    quantile = ndtri(tail) if blocks is None else stdtrit(blocks - 1, tail)
    return max(value - low, high - value) / float(quantile)


@cache
def _widening(blocks: int, confidence: float) -> float:
    tail = (1 + confidence) / 2
    return float(np.sqrt(blocks / (blocks - 1)) * stdtrit(blocks - 1, tail) / ndtri(tail))
