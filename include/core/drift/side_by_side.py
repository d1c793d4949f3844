"""A column's distribution in the reference and in a window, side by side, in a few bins with readable labels.

Only for charts: scores are computed from the counts themselves (:mod:`core.drift.columns`). At most BARS bins per
column, so that the health row that stores them stays small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from include.core.drift.counts import ColumnCount
from include.core.drift.distribution import Array, CategoryDistribution, Distribution, NumericDistribution
from include.core.drift.figures import DriftFigure, SideBySide

BARS = 15
DRAWN = 6
"""How many features of a window are drawn, in addition to the prediction."""
SEPARATE_VALUES = 12
"""Up to this many values have a bar each; beyond it, neighbouring values share one."""
CATEGORIES = 10
NEW_CATEGORIES = 3
MAX_LABEL_LENGTH = 40

Bar = tuple[str, float, float]
"""Label, rows of the reference, rows of the window."""


def side_by_side(reference: Distribution, count: ColumnCount, starts: Array) -> SideBySide:
    """The shares of both sides, with a bar for missing values if there are any.

    ``starts`` are the first fine bins of each merged numeric bin, missing values last.
    """
    if reference["kind"] == "category":
        bars = _categories(reference, count)
    elif "values" in reference:
        bars = _values(reference, count)
    else:
        bars = _ranges(reference, count, starts[:-1].tolist())
    if reference["missing"] or count.missing:
        bars = [*bars, ("missing", reference["missing"], count.missing)]
    return SideBySide(
        bins=tuple(
            label if len(label) <= MAX_LABEL_LENGTH else f"{label[: MAX_LABEL_LENGTH - 1]}…" for label, _, _ in bars
        ),
        reference=tuple(round(before / reference["rows"], 6) for _, before, _ in bars),
        window=tuple(round(now / count.rows, 6) for _, _, now in bars),
    )


def worth_drawing(figures: Mapping[str, DriftFigure]) -> list[str]:
    """Names of at most DRAWN columns: first the drifted ones, then those closest to their limits."""

    def rank(name: str) -> tuple[bool, bool, float]:
        figure = figures[name]
        scores = {name: score for name, score in figure.scores.items() if name in ("psi", "ks") and score is not None}
        allowed = {score: limit for score, limit in figure.limits.items() if score in scores}
        nearest = max((scores[score] / max(limit, 1e-12) for score, limit in allowed.items()), default=scores["psi"])
        return figure.status != "drifted", not allowed, -nearest

    return sorted((name for name, figure in figures.items() if figure.psi is not None), key=rank)[:DRAWN]


def _ranges(reference: NumericDistribution, count: ColumnCount, starts: list[int]) -> list[Bar]:
    """The merged PSI bins; values outside the reference's range belong to the first or the last."""
    edges, ends = reference["edges"], [*starts[1:], len(reference["counts"])]
    if not edges:  # the reference has no values
        return [("any value", sum(reference["counts"]), sum(count.bins))]
    inner = _texts([edges[start - 1] for start in starts[1:]])
    if not inner:
        labels = ["all values"]
    else:
        between = [f"{low} to {high}" for low, high in pairwise(inner)]
        labels = [f"up to {inner[0]}", *between, f"over {inner[-1]}"]
    return [
        (label, sum(reference["counts"][start:end]), sum(count.bins[start:end]))
        for label, start, end in zip(labels, starts, ends, strict=True)
    ]


def _values(reference: NumericDistribution, count: ColumnCount) -> list[Bar]:
    """A bar per value or per group of neighbours, plus bars for values below and above them if there are any."""
    texts, before, now = _texts(reference["values"]), reference["counts"], count.bins
    group_size = -(-len(texts) // SEPARATE_VALUES)
    bars: list[Bar] = []
    for first in range(0, len(texts), group_size):
        group = texts[first : first + group_size]
        label = group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}"
        bins = slice(first + 1, first + 1 + len(group))
        bars.append((label, sum(before[bins]), sum(now[bins])))
    below: list[Bar] = [(f"below {texts[0]}", before[0], now[0])] if now[0] or before[0] else []
    above: list[Bar] = [(f"above {texts[-1]}", before[-1], now[-1])] if now[-1] or before[-1] else []
    return [*below, *bars, *above]


def _categories(reference: CategoryDistribution, count: ColumnCount) -> list[Bar]:
    """The most frequent categories of either side, new ones if the reference's list is complete, and all others."""
    listed = list(zip(reference["counts"], reference["counts"].values(), count.bins, strict=False))
    largest = sorted(listed, key=lambda bar: -max(bar[1] / reference["rows"], bar[2] / count.rows))[:CATEGORIES]
    new = sorted(count.new.items(), key=lambda item: -item[1])[:NEW_CATEGORIES]
    word = "" if reference["other"] else " (new)"
    bars: list[Bar] = [*largest, *((f"{value[: MAX_LABEL_LENGTH - len(word)]}{word}", 0, rows) for value, rows in new)]
    before = sum(reference["counts"].values()) + reference["other"] - sum(rows for _, rows, _ in bars)
    now = sum(count.bins) - sum(rows for _, _, rows in bars)
    return [*bars, ("all others", before, now)] if before or now else bars


def _texts(numbers: Sequence[float]) -> list[str]:
    """Numbers with as few digits as needed to distinguish them, at least three: 12,300 rather than 12345.678."""
    for digits in range(3, 18):
        texts = [format(float(f"{number:.{digits}g}") + 0.0, f",.{max(digits, 10)}g") for number in numbers]
        if len(set(texts)) == len(set(numbers)):
            break
    return texts if numbers else []
