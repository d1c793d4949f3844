"""Many scored rows as few cells of nearly equal scores, so that a resample costs the cells and not the rows.

The metrics of a classifier need of each row only its score and its class. Rows whose scores are next to each other can
be drawn together: a cell has the mean of their scores, and a resample says how often each cell came up, as true and as
false (multinomial), which is what drawing the rows one by one adds up to. Equal scores share a cell, and no cell spans
a score at which a metric changes its mind: the threshold, the bins of the calibration error. What is left out is the
order within a cell, far less than chance does to a window of this size (``tests/unit/core/quality/test_condensed.py``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from include.core.quality.metrics import CALIBRATION_BINS, Array

LARGEST_ROWS = 50_000
"""Up to here each row is a cell of its own."""
CELLS = 5_000


class Cells(NamedTuple):
    """Of each cell its ``score``, how many ``rows`` it holds, and how many of them are ``true``; each of shape [n]."""

    score: Array
    rows: Array
    true: Array

    def outcomes(self) -> tuple[Array, Array, Array]:
        """Each cell twice, as true and as false: truth, score, and how many rows came out so."""
        truth = np.repeat([1.0, 0.0], len(self.score))
        return truth, np.tile(self.score, 2), np.concatenate([self.true, self.rows - self.true])

    def draw(self, probability: Array, random: np.random.Generator) -> Array:
        """How many rows come out as true and as false, in the order of ``outcomes``, by each cell's probability."""
        alone = len(self.rows) == self.rows.sum()
        true = random.random(len(self.rows)) < probability if alone else random.binomial(self.rows, probability)
        return np.concatenate([true, self.rows - true]).astype(float)


def condense(score: Array, truth: Array, threshold: float) -> Cells:
    """Cells of finite scores, shape [n]; ``truth`` is how true each row is, 0 to 1."""
    if len(score) <= LARGEST_ROWS:
        return Cells(score, np.ones(len(score), dtype=int), truth)
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    edges = [*(np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS), threshold]
    starts = np.unique(np.searchsorted(ranked, [*ranked[np.arange(CELLS) * len(ranked) // CELLS], *edges]))
    starts = starts[starts < len(ranked)]
    rows = np.diff(starts, append=len(ranked))
    mean = np.add.reduceat(ranked, starts) / rows
    mean = np.clip(mean, ranked[starts], ranked[starts + rows - 1])  # a mean of equal numbers may miss them by a bit
    return Cells(mean, rows, np.add.reduceat(truth[order], starts))
