"""Direct loss estimation (DLE): the expected error of a regression model before ground truth arrives.

NannyML's documentation, "Estimation of Performance of the Monitored Model", section "Direct Loss Estimation": a second
model learns the absolute error of the first from the features and the prediction, on rows that the first was not
trained on; its mean over a window is the expected error. Here the second model is one small regression tree (L.
Breiman et al., *Classification and Regression Trees*, 1984, chapter 8), stored as JSON: its splits and, per leaf, the
number of rows and the mean and variance of the absolute and squared error. No rows of the data are stored.

The tree is honest (S. Athey, G. Imbens, "Recursive partitioning for heterogeneous causal effects", PNAS 113, 2016): its
splits come from one half of the holdout and the figures of its leaves from the other half, so that the choice of splits
does not bias them. That keeps the interval simple: the variance of a window's mean error is the variance of its rows
plus the variance of the leaf means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, Literal, TypedDict

import numpy as np
import pandas as pd

from include.core.categories import category_texts, with_boolean_texts
from include.core.quality.evaluation import unknown
from include.core.quality.figures import Quality, QualityFigure
from include.core.quality.metrics import Array
from include.core.spec import PREDICTION, Feature, ModelSpec

DEPTH = 5
ROWS_IN_A_LEAF = 30
"""Minimum number of rows in a leaf, in each half of the holdout."""
MAX_CATEGORIES = 50
CUTS = np.linspace(0.1, 0.9, 9)
"""Quantiles of a column that are tried as split points."""


class Leaf(TypedDict):
    """Number of rows, and mean and variance of their absolute and squared error."""

    rows: int
    mean: float
    variance: float
    mean_square: float
    variance_square: float


class LossTree(TypedDict):
    """The content of ``estimator.json`` of a regression model."""

    method: Literal["dle"]
    rows: int
    categories: dict[str, dict[str, int]]
    """Feature → value → code."""
    nodes: list[list[Any]]
    """``[column, at, left, right]`` (rows with column <= at go left; missing values go right) or ``[leaf]``."""
    leaves: list[Leaf]


Columns = dict[str, Array]
"""Column → its values as floats, shape [rows]."""


def build_loss_tree(holdout: pd.DataFrame, spec: ModelSpec) -> LossTree:
    """The tree of ``|target - prediction|`` over the features and the prediction of unseen rows."""
    errors = np.abs(holdout[spec.target].to_numpy(dtype=float) - holdout["prediction"].to_numpy(dtype=float))
    half = np.arange(len(errors)) % 2 == 0
    categories = {
        feature.name: _codes(category_texts(holdout[feature.name][half], feature.type), errors[half])
        for feature in spec.features
        if feature.type in ("category", "boolean")
    }
    columns = _columns(holdout, spec.features, categories)
    nodes: list[list[Any]] = []
    leaves: list[Leaf] = []
    _grow(columns, errors, half, np.arange(len(errors)), DEPTH, nodes, leaves)
    return {"method": "dle", "rows": len(errors), "categories": categories, "nodes": nodes, "leaves": leaves}


def estimate_losses(tree: LossTree, frame: pd.DataFrame, spec: ModelSpec) -> Quality:
    """Expected MAE and RMSE on ``frame``; a reason for each of the spec's other metrics.

    ``frame`` has ``prediction`` and the features that the tree uses (:func:`features_of`).
    """
    figures: dict[str, QualityFigure] = {}
    used = set(features_of(tree))
    features = [feature for feature in spec.features if feature.name in used]
    booleans = {feature.name for feature in features if feature.type == "boolean"}
    categories = {
        name: with_boolean_texts(codes) if name in booleans else codes for name, codes in tree["categories"].items()
    }
    columns = _columns(frame, features, categories)
    leaf = _leaf_of_each(tree, columns, len(frame))
    rows = np.bincount(leaf, minlength=len(tree["leaves"])).astype(float)
    for name in spec.metrics.names:
        if name not in ("mae", "rmse"):
            figures[name] = unknown("this metric can't be estimated before ground truth; mae and rmse can", len(frame))
        elif not len(frame):
            figures[name] = unknown("no predictions", 0)
        elif name == "mae":
            figures[name] = QualityFigure(*_mean_error(tree["leaves"], rows, spec.metrics.confidence), len(frame))
        else:
            value, low, high = np.sqrt(_mean_square(tree["leaves"], rows, spec.metrics.confidence))
            figures[name] = QualityFigure(float(value), float(low), float(high), len(frame))
    return figures


def features_of(tree: LossTree) -> list[str]:
    """The names of the features that the tree's splits use."""
    return sorted({node[0] for node in tree["nodes"] if len(node) > 1} - {"prediction"})


def _mean_error(leaves: Sequence[Leaf], rows: Array, confidence: float) -> tuple[float, float, float]:
    """Mean absolute error of a window with this many rows per leaf, and the bounds of its interval."""
    mean, variance = [leaf["mean"] for leaf in leaves], [leaf["variance"] for leaf in leaves]
    return _mean(leaves, rows, np.array(mean), np.array(variance), confidence)


def _mean_square(leaves: Sequence[Leaf], rows: Array, confidence: float) -> tuple[float, float, float]:
    """The same for the squared error."""
    mean, variance = [leaf["mean_square"] for leaf in leaves], [leaf["variance_square"] for leaf in leaves]
    return _mean(leaves, rows, np.array(mean), np.array(variance), confidence)


def _mean(
    leaves: Sequence[Leaf], rows: Array, mean: Array, variance: Array, confidence: float
) -> tuple[float, float, float]:
    """Mean over a window with this many rows per leaf; normal interval, never below 0."""
    total = float(rows.sum())
    known = np.array([leaf["rows"] for leaf in leaves])
    value = float((rows * mean).sum()) / total
    spread = float((rows * variance + rows**2 * variance / known).sum()) ** 0.5 / total
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * spread if confidence < 1 else float("inf")
    return value, max(value - reach, 0.0), value + reach


def _grow(
    columns: Columns,
    errors: Array,
    half: Array,
    rows: Array,
    depth: int,
    nodes: list[list[Any]],
    leaves: list[Leaf],
) -> int:
    """Add the node of these rows and the nodes below it; returns its index in ``nodes``."""
    index = len(nodes)
    nodes.append([])
    split = _best_split(columns, errors, half, rows) if depth else None
    if split is None:
        other_half = errors[rows[~half[rows]]]
        of_leaf = other_half if len(other_half) else errors[rows]
        leaves.append(
            {
                "rows": len(of_leaf),
                "mean": float(of_leaf.mean()),
                "variance": float(of_leaf.var()),
                "mean_square": float((of_leaf**2).mean()),
                "variance_square": float((of_leaf**2).var()),
            }
        )
        nodes[index] = [len(leaves) - 1]
        return index
    name, at = split
    left = columns[name][rows] <= at
    below = [_grow(columns, errors, half, rows[side], depth - 1, nodes, leaves) for side in (left, ~left)]
    nodes[index] = [name, at, *below]
    return index


def _best_split(columns: Columns, errors: Array, half: Array, rows: Array) -> tuple[str, float] | None:
    """The column and split point that reduce the squared deviation most, judged on the first half only."""
    chosen, others = rows[half[rows]], rows[~half[rows]]
    if min(len(chosen), len(others)) < 2 * ROWS_IN_A_LEAF:
        return None
    loss = errors[chosen]
    best: tuple[str, float] | None = None
    gained = 1e-9 * len(loss) * float(loss.var())
    for name, column in columns.items():
        values, counterpart = column[chosen], column[others]
        present = values[np.isfinite(values)]
        for at in np.unique(np.quantile(present, CUTS)) if len(present) else ():
            left = values <= at
            sizes = (left.sum(), (~left).sum(), (counterpart <= at).sum(), (~(counterpart <= at)).sum())
            if min(sizes) < ROWS_IN_A_LEAF:
                continue
            gain = sizes[0] * sizes[1] / len(loss) * (loss[left].mean() - loss[~left].mean()) ** 2
            if gain > gained:
                best, gained = (name, float(at)), float(gain)
    return best


def _leaf_of_each(tree: LossTree, columns: Columns, rows: int) -> Array:
    leaf = np.zeros(rows, dtype=int)
    waiting = [(0, np.arange(rows))]
    while waiting:
        index, members = waiting.pop()
        node = tree["nodes"][index]
        if len(node) == 1:
            leaf[members] = node[0]
            continue
        left = columns[node[0]][members] <= node[1]
        waiting += [(node[2], members[left]), (node[3], members[~left])]
    return leaf


def _columns(frame: pd.DataFrame, features: Sequence[Feature], categories: Mapping[str, Mapping[str, int]]) -> Columns:
    """These features and the prediction as floats: numbers, or category codes; NaN for missing values."""
    columns = {}
    for feature in [*features, PREDICTION]:
        values = frame[feature.name]
        if feature.type in ("category", "boolean"):
            values = category_texts(values, feature.type).map(categories.get(feature.name, {}))
        columns[feature.name] = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return columns


def _codes(text: pd.Series, errors: Array) -> dict[str, int]:
    """Codes of the most frequent categories, ordered by mean error, so that splits can separate hard from easy ones."""
    frequent = text.value_counts().index[:MAX_CATEGORIES]
    means = pd.Series(errors, index=text.index).groupby(text).mean()
    return {str(value): code for code, value in enumerate(means[means.index.isin(frequent)].sort_values().index)}
