"""How much windows of a column differ although nothing has changed: counted in the reference, by period and by block.

Rows of a window are not independent of each other: flights of one day share their weather, each month differs from
every other, and rows of a session resemble each other. So the profile also has, for each column,

* **counts by period**: rows by merged bin for each day of the reference, in order. Beyond MAX_PERIODS days, as many
  neighbouring days are merged as needed. Runs of as many days as the window has are compared with the rest of the
  reference: by this much windows differ without drift;
* **a design effect**, if ``data.dependence`` names a feature: how many rows count as one independent row (J. Rao, A.
  Scott, Journal of the American Statistical Association 76 (1981)). It is measured on at most MAX_GROUPS groups of
  whole blocks: the number of blocks modulo MAX_GROUPS is their group (the random groups method: K. Wolter,
  *Introduction to Variance Estimation* (Springer, 2007), chapter 2).

Counts and numbers only, no rows; their size does not depend on the number of rows or blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from include.core.categories import category_texts
from include.core.drift.bins import period_starts, reference_counts
from include.core.drift.distribution import Array, Distribution, Spread, as_numbers
from include.core.spec import FeatureType

MAX_PERIODS = 400
MAX_GROUPS = 256
LEAST_PERIODS = 3
"""Runs of days can be compared with the rest from this many periods on."""
LEAST_CUMULATIVE = 0.1
"""Cumulative shares nearer to 0 or 1 say little about the design effect."""
LEAST_GROUPS = 10
"""A design effect needs this many blocks."""
SPREAD_MARGIN = 2.0
"""Blocks can't explain more than all of the spread of the runs, which is known inexactly: turbines that are in every
run have a large design effect, but do not make runs differ."""
LEAST_INDEPENDENT_ROWS = 20
"""A window that counts as fewer independent rows is not judged."""


def measure_spread(
    values: pd.Series, kind: FeatureType, reference: Distribution, times: pd.Series, blocks: Array | None
) -> Spread:
    """The counts by period and the design effect of a column's rows.

    ``times`` are their event timestamps (UTC), ``blocks`` the numbers of their blocks, shape [n], if not days.
    """
    starts = period_starts(reference)
    bins = np.searchsorted(starts, _bins_of(values, kind, reference), side="right") - 1
    days, day_of = np.unique(pd.to_datetime(times).to_numpy().astype("datetime64[D]"), return_inverse=True)
    merged = max(-(-len(days) // MAX_PERIODS), 1)
    counts = _table(day_of // merged, bins, len(starts))
    effect = (
        None if blocks is None else _design_effect(blocks, bins, len(starts), ordered=reference["kind"] == "numeric")
    )
    return {"days": merged, "counts": counts.astype(int).tolist(), "blocks": blocks is not None, "effect": effect}


def _bins_of(values: pd.Series, kind: FeatureType, reference: Distribution) -> Array:
    """The fine bin of each value, as :func:`core.drift.counts.count_column` counts it; missing values last."""
    if reference["kind"] == "category":
        listed = {value: number for number, value in enumerate(reference["counts"])}
        texts = category_texts(values, kind)
        return texts.map(
            lambda value: len(listed) + 1 if value is None or pd.isna(value) else listed.get(str(value), len(listed))
        ).to_numpy(dtype=int)
    numbers, edges = as_numbers(values), np.asarray(reference["edges"], dtype=float)
    return np.where(np.isfinite(numbers), np.searchsorted(edges, numbers, side="left"), len(edges) + 1)


def _table(rows: Array, bins: Array, columns: int) -> Array:
    """How often each pair occurs, shape [largest row + 1, columns]."""
    height = int(rows.max(initial=-1)) + 1
    counted: Array = np.bincount(rows * columns + bins, minlength=height * columns)
    return counted.reshape(height, columns)


def _design_effect(blocks: Array, bins: Array, columns: int, *, ordered: bool) -> float | None:
    """How many rows count as one, at least 1; None with too few blocks.

    The mean generalized design effect of the bins' shares; of ordered bins, the largest one of the cumulative shares
    if that is more: rows that resemble each other are on the same side of the median more often than in the same bin.
    """
    number = int(blocks.max(initial=-1)) + 1
    if number < LEAST_GROUPS:
        return None
    counts = _table(blocks % MAX_GROUPS, bins, columns).astype(float)
    shares = counts.sum(axis=0) / counts.sum()
    used = shares > 0
    if used.sum() < 2:
        return 1.0
    variance = _variance(counts)[used]
    effect = float((variance / shares[used]).sum() / (1 - shares[used]).sum())
    if ordered:
        below = np.cumsum(counts[:, :-1], axis=1)
        chance = (share := below.sum(axis=0) / counts.sum()) * (1 - share)
        common = chance >= LEAST_CUMULATIVE * (1 - LEAST_CUMULATIVE)
        effect = max(effect, float((_variance(below, counts)[common] / chance[common]).max(initial=0)))
    return max(effect, 1.0)


def _variance(counts: Array, whole: Array | None = None) -> Array:
    """The variance of each column's share of the rows of ``whole`` between groups, per row; shape [columns]."""
    rows = (counts if whole is None else whole).sum(axis=1, keepdims=True)
    apart = counts - rows * counts.sum(axis=0) / rows.sum()
    variance: Array = len(counts) / (len(counts) - 1) * (apart**2).sum(axis=0) / rows.sum()
    return variance


@dataclass(frozen=True)
class Deviations:
    """By how much a window's shares may differ from the reference's without drift, beyond what its rows explain."""

    factors: Array
    """Share of a run of days relative to the reference's, shape [runs, merged bins]."""
    shrink: float
    """The part of these deviations that chance in rows does not explain, 0 to 1."""
    bin_of: Array
    """The merged bin of each fine bin."""
    freedom: float
    """Degrees of freedom with which the runs tell their own spread."""
    effect: float
    """Design effect: how many rows count as one independent row."""
    days: int
    """Length of a run."""
    separate: float
    """How many runs the reference has that do not overlap; may be infinite."""


def deviations(reference: Distribution, spread: Spread, days: int) -> Deviations | str:
    """The deviations of runs of ``days`` days from the rest of the reference; text: why they can't be told.

    A run is as long as the window, but at most a third of the reference: windows that are longer differ less, so their
    limits are rather too high. What the rows of a run and of the rest explain by chance is taken off by shrinking all
    deviations by one factor. Overlapping runs have 1.5 times as many degrees of freedom as separate ones (M. Meketon,
    B. Schmeiser, Winter Simulation Conference (1984)).
    """
    counts = np.asarray(spread["counts"], dtype=float)
    fine, starts = reference_counts(reference), period_starts(reference)
    bin_of = np.searchsorted(starts, np.arange(len(fine)), side="right") - 1
    periods, effect = len(counts), spread["effect"]
    if periods < LEAST_PERIODS:
        if effect is None:
            has = f"{periods} day{'s' * (periods != 1)}"
            if spread["blocks"]:
                has += f" and fewer than {LEAST_GROUPS} values of the feature that data.dependence names"
            return f"the reference has rows of only {has}, so it can't tell how windows differ without drift"
        return Deviations(np.ones((1, len(starts))), 0.0, bin_of, np.inf, effect, 0, np.inf)
    length = max(min(round(days / spread["days"]), periods // LEAST_PERIODS), 1)
    sums = np.cumsum(np.vstack([np.zeros(len(starts)), counts]), axis=0)
    runs, total = sums[length:] - sums[:-length], sums[-1]
    rest = total - runs
    rows, others = runs.sum(axis=1, keepdims=True), rest.sum(axis=1, keepdims=True)
    overall = np.where(total > 0, total / total.sum(), 1.0)
    apart = (runs / rows - rest / np.maximum(others, 1)) * (total > 0)
    found = float(((apart**2) / overall).sum(axis=1).mean())
    by_row = float(((1 - overall) * (total > 0)).sum() * (1 / rows + 1 / np.maximum(others, 1)).mean())
    largest = max(found / by_row, 1.0) if by_row > 0 else 1.0
    unmeasured = largest if spread["blocks"] else 1.0
    effect = unmeasured if effect is None else min(effect, SPREAD_MARGIN * largest)
    shrink = np.sqrt(max(1 - effect * by_row / found, 0.0)) if found > 0 else 0.0
    freedom = 1.5 * (periods / length - 1)
    separate = periods / length
    return Deviations(1 + apart / overall, shrink, bin_of, freedom, effect, length * spread["days"], separate)
