"""The effect of chance on drift scores: their limits without drift, and their sampling errors.

Nothing is taken from a table: a limit follows from the reference's own counts, the two sample sizes, the number of
scores and the false alarm rate that the team accepts.

**Limits.** The reference is a sample too. Given its counts, the underlying shares have a Dirichlet distribution (exact
for bins between order statistics: H. David, H. Nagaraja, *Order Statistics* (Wiley, 2003), 6.4; for others the
posterior with H. Jeffreys' prior, Proceedings of the Royal Society A 186 (1946)). A resample draws such shares, and
from them a window of the same size. Its scores are those of a window without drift.

**Many scores.** The cube root of each score is nearly normal (E. Wilson, M. Hilferty, PNAS 17 (1931), for chi-square
and therefore for PSI), and is standardized. All scores share one limit in standard deviations, which the largest score
exceeds in the accepted share of resamples (the single-step maxT of P. Westfall, S. Young, *Resampling-Based Multiple
Testing* (Wiley, 1993), 2.3). Columns are resampled independently, which gives fewer alarms if they depend on each
other; so does reducing that share by one standard error of the resampling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Scores = Mapping[str, Array]
Score = Callable[[Array, Array], Scores]
"""A function from reference and window counts, shape [..., bins], to scores, each of shape [...]."""

RESAMPLES = 1000
ERROR_RESAMPLES = 200
PRIOR = 0.5


@dataclass(frozen=True)
class JudgedColumn:
    """A column for which limits are computed."""

    expected: Array
    """The reference's counts by bin, shape [bins], including missing values."""
    observed: Array
    """The window's counts in the same bins."""
    score: Score
    """The scores that decide whether the column drifted."""


def limits(columns: Mapping[str, JudgedColumn], false_alarm_rate: float, seed: int = 0) -> dict[str, dict[str, float]]:
    """Column → score → the limit; without drift, any score exceeds its limit only at the accepted rate (0 to 1).

    The same arguments give the same limits.
    """
    random = np.random.default_rng(seed)
    centres: dict[tuple[str, str], tuple[float, float]] = {}
    highest = np.full(RESAMPLES, -np.inf)
    for name, column in columns.items():
        window = _draw(column.expected + PRIOR, int(column.observed.sum()), RESAMPLES, random)
        for score, values in column.score(column.expected, window).items():
            roots = np.cbrt(values)
            centre, spread = float(roots.mean()), float(roots.std())
            centres[name, score] = centre, spread
            if spread > 0:
                highest = np.maximum(highest, (roots - centre) / spread)
    guard = np.sqrt(false_alarm_rate * (1 - false_alarm_rate) / RESAMPLES)
    quantile = min(1 - false_alarm_rate + guard, 1.0)
    allowed = float(np.quantile(highest, quantile)) if np.isfinite(highest).all() else 0.0
    limits_of: dict[str, dict[str, float]] = {name: {} for name in columns}
    for (name, score), (centre, spread) in centres.items():
        limits_of[name][score] = (centre + allowed * spread) ** 3
    return limits_of


def sampling_errors(expected: Array, observed: Array, score: Score, seed: int = 0) -> dict[str, float]:
    """Standard error of each score: its spread when both samples are redrawn from their observed shares.

    Parametric bootstrap: B. Efron, R. Tibshirani, *An Introduction to the Bootstrap* (Chapman & Hall, 1993), 6.5.
    """
    random = np.random.default_rng(seed)
    before = _draw(expected, int(expected.sum()), ERROR_RESAMPLES, random, known=True)
    now = _draw(observed, int(observed.sum()), ERROR_RESAMPLES, random, known=True)
    return {name: float(values.std()) for name, values in score(before, now).items()}


def _draw(counts: Array, rows: int, resamples: int, random: np.random.Generator, *, known: bool = False) -> Array:
    """Counts of ``rows`` rows by bin, shape [resamples, bins], from the shares of ``counts`` (exact if ``known``).

    Independent Poisson counts are a multinomial sample given their total, and the total does not affect shares.
    """
    shape = (resamples, len(counts))
    weights = np.broadcast_to(counts, shape) if known else random.standard_gamma(np.broadcast_to(counts, shape))
    shares = weights / weights.sum(axis=-1, keepdims=True)
    drawn: Array = random.poisson(shares * rows).astype(float)
    return drawn
