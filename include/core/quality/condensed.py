"""Condenses many scored rows into few cells of nearly equal scores, so that resampling costs per cell, not per row.

A classifier's metrics depend only on each row's score and class. Rows with adjacent scores can be drawn together: a
cell has the mean of their scores, and a resample counts how often each cell was drawn as true and as false
(multinomial), which is equivalent to drawing its rows one by one. Equal scores share a cell, and no cell crosses a
score at which a metric is discontinuous: the threshold and the bin edges of the calibration error. Only the order
within a cell is lost, which matters far less than chance in a window of this size
(``tests/unit/core/quality/test_condensed.py``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from include.core.quality.metrics import CALIBRATION_BINS, Array

MAX_UNCONDENSED_ROWS = 50_000
"""Up to this number, each row is its own cell."""
CELLS = 5_000


class Cells(NamedTuple):
    """Per cell: its ``score``, its number of ``rows``, and how many of them are ``true``; each of shape [n]."""

    score: Array
    rows: Array
    true: Array

    def outcomes(self) -> tuple[Array, Array, Array]:
        """Each cell twice, as true and as false: truth, score, and number of rows."""
        truth = np.repeat([1.0, 0.0], len(self.score))
        return truth, np.tile(self.score, 2), np.concatenate([self.true, self.rows - self.true])

    def draw(self, probability: Array, random: np.random.Generator) -> Array:
        """Random numbers of true and false rows, in the order of ``outcomes``, by each cell's probability."""
        uncondensed = len(self.rows) == self.rows.sum()
        true = random.random(len(self.rows)) < probability if uncondensed else random.binomial(self.rows, probability)
        return np.concatenate([true, self.rows - true]).astype(float)


def condense(score: Array, truth: Array, threshold: float) -> Cells:
    """Condense finite scores, shape [n]; ``truth`` is each row's class or probability, 0 to 1."""
    if len(score) <= MAX_UNCONDENSED_ROWS:
        return Cells(score, np.ones(len(score), dtype=int), truth)
    order, starts = _cells(score, threshold)
    ranked, rows = score[order], np.diff(starts, append=len(score))
    mean = np.add.reduceat(ranked, starts) / rows
    mean = np.clip(mean, ranked[starts], ranked[starts + rows - 1])  # the mean of equal numbers may differ by rounding
    return Cells(mean, rows, np.add.reduceat(truth[order], starts))


def outcome_losses(losses: Array, score: Array, truth: Array, threshold: float) -> Array:
    """The mean loss of each cell's true and false rows, in the order of ``outcomes``; 0 where there is none.

    A loss is not linear in the score: the loss of a cell's mean score is not the mean of its rows' losses.
    """
    order, starts = _cells(score, threshold)
    sides = []
    for side in (truth, 1 - truth):
        total, count = (np.add.reduceat(values[order], starts) for values in (losses * side, side))
        sides.append(np.divide(total, count, out=np.zeros(len(starts)), where=count > 0))
    return np.concatenate(sides)


def outcome_of_rows(score: Array, truth: Array, threshold: float) -> Array:
    """Which outcome each row belongs to, shape [n]: its cell if it is true, else its cell after all true ones."""
    order, starts = _cells(score, threshold)
    cell = np.empty(len(score), dtype=np.int64)
    cell[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(score)))
    outcome: Array = np.where(truth > 0, cell, cell + len(starts))
    return outcome


def _cells(score: Array, threshold: float) -> tuple[Array, Array]:
    """The rows' order by score, and the place in it where each cell starts."""
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    edges = [*(np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS), threshold]
    starts = np.unique(np.searchsorted(ranked, [*ranked[np.arange(CELLS) * len(ranked) // CELLS], *edges]))
    return order, starts[starts < len(ranked)]
