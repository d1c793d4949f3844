"""The effect of chance on drift scores: their limits without drift, and their sampling errors.

Nothing is taken from a table: a limit follows from the reference's own counts, the two sample sizes, the number of
scores and the false alarm rate that the team accepts.

**Limits.** The reference is a sample too. Given its counts, the underlying shares have a Dirichlet distribution (exact
for bins between order statistics: H. David, H. Nagaraja, *Order Statistics* (Wiley, 2003), 6.4; for others the
posterior with H. Jeffreys' prior, Proceedings of the Royal Society A 186 (1946)). A resample draws such shares, and
from them a window of the same size. Its scores are those of a window without drift.

**Dependent rows.** Windows differ by more than their rows explain (:mod:`core.drift.spread`). So each resample also
takes the deviation of one run of the reference's days, the same run for all columns, and rows count as fewer by the
design effect. The few runs of a short reference tell their spread inexactly: deviations are multiplied by the root of
an inverse chi-square variable, which makes a normal deviation one of Student's t (S. Geisser, *Predictive Inference*
(Chapman & Hall, 1993), 3.2). With fewer separate runs than one false alarm takes on average, no limit is below what the
reference's own runs reach.

**Many scores.** The cube root of each score is nearly normal (E. Wilson, M. Hilferty, PNAS 17 (1931), for chi-square
and therefore for PSI), and is standardized. All scores share one limit in standard deviations, which the largest score
exceeds in the accepted share of resamples (the single-step maxT of P. Westfall, S. Young, *Resampling-Based Multiple
Testing* (Wiley, 1993), 2.3). Columns are resampled independently, which gives fewer alarms if they depend on each
other; so does reducing that share by one standard error of the resampling and of the runs, at most by half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from include.core.drift.divergence import TINY
from include.core.drift.spread import Deviations

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
    apart: Deviations | None = None
    """How windows differ without drift, beyond what their rows explain; None if rows are independent."""


def limits(columns: Mapping[str, JudgedColumn], false_alarm_rate: float, seed: int = 0) -> dict[str, dict[str, float]]:
    """Column → score → the limit; without drift, any score exceeds its limit only at the accepted rate (0 to 1).

    The same arguments give the same limits.
    """
    random, shared = np.random.default_rng(seed), np.random.default_rng([seed, 1]).random((2, RESAMPLES))
    centres: dict[tuple[str, str], tuple[float, float]] = {}
    highest = np.full(RESAMPLES, -np.inf)
    for name, column in columns.items():
        window = _draw_window(column, shared, random)
        for score, values in column.score(column.expected, window).items():
            roots = np.cbrt(values)
            centre, spread = float(roots.mean()), float(roots.std())
            centres[name, score] = centre, spread
            if spread > 0:
                highest = np.maximum(highest, (roots - centre) / spread)
    separate = min((column.apart.separate for column in columns.values() if column.apart), default=np.inf)
    guard = np.sqrt(false_alarm_rate * (1 - false_alarm_rate) / min(RESAMPLES, separate))
    guard = min(guard, false_alarm_rate / 2)
    quantile = min(1 - false_alarm_rate + guard, 1.0)
    allowed = float(np.quantile(highest, quantile)) if np.isfinite(highest).all() else 0.0
    limits_of: dict[str, dict[str, float]] = {name: {} for name in columns}
    for (name, score), (centre, spread) in centres.items():
        limits_of[name][score] = (centre + allowed * spread) ** 3
    for name, column in columns.items():
        if column.apart and column.apart.separate < 1 / false_alarm_rate:
            for score, values in column.score(column.expected, _own_runs(column, column.apart)).items():
                limits_of[name][score] = max(limits_of[name][score], float(values.max()))
    return limits_of


def _own_runs(column: JudgedColumn, apart: Deviations) -> Array:
    """The runs of the reference as windows of as many rows as the window, shape [runs, bins]."""
    counts = column.expected * np.maximum(apart.factors, 0)[:, apart.bin_of]
    scaled: Array = counts * column.observed.sum() / np.maximum(counts.sum(axis=-1, keepdims=True), TINY)
    return scaled


def _draw_window(column: JudgedColumn, shared: Array, random: np.random.Generator) -> Array:
    """Windows without drift, shape [RESAMPLES, bins]; all columns have the uniform numbers ``shared`` in common."""
    rows, apart = column.observed.sum(), column.apart
    if apart is None:
        return _draw(column.expected + PRIOR, rows, RESAMPLES, random)
    from scipy.special import chdtri

    of_run, of_scale = shared
    run = (of_run * len(apart.factors)).astype(int)
    scale = 1.0 if np.isinf(apart.freedom) else np.sqrt(apart.freedom / chdtri(apart.freedom, of_scale))
    factors = np.maximum(1 + apart.shrink * (apart.factors[run] - 1) * np.reshape(scale, (-1, 1)), 0)
    weights = column.expected / apart.effect + PRIOR
    shares = random.standard_gamma(np.broadcast_to(weights, (RESAMPLES, len(weights))))
    shares *= factors[:, apart.bin_of]
    shares /= np.maximum(shares.sum(axis=-1, keepdims=True), TINY)
    drawn: Array = random.poisson(shares * rows / apart.effect) * apart.effect
    return drawn


def sampling_errors(
    expected: Array, observed: Array, score: Score, seed: int = 0, effect: float = 1.0
) -> dict[str, float]:
    """Standard error of each score: its spread when both samples are redrawn from their observed shares.

    ``effect`` rows count as one independent row.
    Parametric bootstrap: B. Efron, R. Tibshirani, *An Introduction to the Bootstrap* (Chapman & Hall, 1993), 6.5.
    """
    random = np.random.default_rng(seed)
    before = _draw(expected, expected.sum() / effect, ERROR_RESAMPLES, random, known=True)
    now = _draw(observed, observed.sum() / effect, ERROR_RESAMPLES, random, known=True)
    return {name: float(values.std()) for name, values in score(before, now).items()}


def _draw(counts: Array, rows: float, resamples: int, random: np.random.Generator, *, known: bool = False) -> Array:
    """Counts of ``rows`` rows by bin, shape [resamples, bins], from the shares of ``counts`` (exact if ``known``).

    Independent Poisson counts are a multinomial sample given their total, and the total does not affect shares.
    """
    shape = (resamples, len(counts))
    weights = np.broadcast_to(counts, shape) if known else random.standard_gamma(np.broadcast_to(counts, shape))
    shares = weights / weights.sum(axis=-1, keepdims=True)
    drawn: Array = random.poisson(shares * rows).astype(float)
    return drawn
