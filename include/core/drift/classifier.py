"""The classifier of the multivariate drift test: it learns to distinguish a window's rows from the reference's rows.

Gradient boosting on the columns, and on products of the few pairs of columns whose correlation differs most between
both sides in the training rows. Boosted trees alone hardly detect a pair with unchanged marginals, since no first split
gains anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from include.core.categories import category_texts
from include.core.drift.distribution import Array, as_numbers
from include.core.spec import Feature

PAIRS = 10
MAX_CODES = 50
PAIRED_CATEGORIES = 5
MAX_SIGNALS = 400
"""Pairs are searched among at most this many randomly chosen signals, which limits time and memory."""


@dataclass(frozen=True)
class Table:
    """Rows as numbers for the classifier, and as signals for the search for pairs."""

    values: Array
    """Shape [rows, features]: numbers, or category codes; NaN is missing."""
    categorical: Array
    """Which features are codes, shape [features]."""
    signals: Array
    """Shape [rows, signals], each with mean 0 and deviation 1: normal scores, their absolute values, indicators."""
    owner: Array
    """The feature of each signal, shape [signals]."""

    def take(self, rows: Array) -> Table:
        """Some of the rows, by position or mask."""
        return Table(self.values[rows], self.categorical, self.signals[rows], self.owner)

    def shuffled(self, feature: int, order: Array) -> Table:
        """The rows with the values of one feature reordered."""
        values, signals, own = self.values.copy(), self.signals.copy(), self.owner == feature
        values[:, feature] = values[order, feature]
        signals[:, own] = signals[np.ix_(order, own)]
        return Table(values, self.categorical, signals, self.owner)


@dataclass(frozen=True)
class Classifier:
    """Distinguishes the window from the reference."""

    model: Any
    left: Array
    right: Array
    """Signals of the chosen pairs."""
    even: float
    """Log odds of the sizes of both sides, subtracted to balance them. Weights would also do it, ten times slower."""

    def score(self, table: Table) -> Array:
        """Scores of shape [rows]; above 0: more likely from the window."""
        log_odds: Array = self.model.decision_function(_inputs(table, self.left, self.right))
        return log_odds - self.even


def learn(table: Table, labels: Array, seed: int) -> Classifier:
    """A classifier of rows with labels, shape [rows]: whether a row is of the window."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    left, right = _pairs(table, labels)
    inputs = _inputs(table, left, right)
    inputs[:, np.isnan(inputs).all(axis=0)] = 0  # scikit-learn can't bin a column without values
    model = HistGradientBoostingClassifier(
        max_iter=25,
        max_leaf_nodes=6,
        learning_rate=0.15,
        early_stopping=False,
        max_bins=64,
        categorical_features=np.concatenate([table.categorical, np.zeros(len(left), dtype=bool)]),
        random_state=seed,
    )
    even = float(np.log(labels.sum() / (~labels).sum()))
    return Classifier(model.fit(inputs, labels), left, right, even)


def _inputs(table: Table, left: Array, right: Array) -> Array:
    return np.hstack([table.values, table.signals[:, left] * table.signals[:, right]])


def _pairs(table: Table, labels: Array) -> tuple[Array, Array]:
    """Pairs of signals of two features whose mean product differs most between both sides, in standard errors."""
    means, variances = [], []
    for side in (False, True):
        signals = table.signals[labels == side]
        mean = signals.T @ signals / len(signals)
        means.append(mean)
        variances.append(((signals**2).T @ signals**2 / len(signals) - mean**2) / len(signals))
    error = np.sqrt(np.maximum(sum(variances), 1e-12))
    left, right = np.triu_indices(len(table.owner), 1)
    other = table.owner[left] != table.owner[right]
    left, right = left[other], right[other]
    distance = np.abs((means[1] - means[0]) / error)[left, right]
    best = np.argsort(-distance, kind="stable")[:PAIRS]
    return left[best], right[best]


def table_of(frame: pd.DataFrame, features: Sequence[Feature], seed: int) -> Table:
    """All rows as numbers, computed without the labels, so that labels are exchangeable without drift."""
    values, signals, owner = [], [], []
    for number, feature in enumerate(features):
        categorical = feature.type in ("category", "boolean")
        column = _codes(frame[feature.name], feature) if categorical else _numbers(frame[feature.name])
        values.append(column)
        for signal in _signals(column, categorical):
            signals.append(signal)
            owner.append(number)
    chosen = np.arange(len(owner))
    if len(chosen) > MAX_SIGNALS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MAX_SIGNALS, replace=False))
    return Table(
        np.stack(values, axis=1),
        np.array([feature.type in ("category", "boolean") for feature in features]),
        np.stack([signals[signal] for signal in chosen], axis=1) if len(chosen) else np.empty((len(frame), 0)),
        np.array(owner, dtype=int)[chosen],
    )


def _numbers(values: pd.Series) -> Array:
    """Numbers in single precision; otherwise a column stored in double by one side only would reveal the sides."""
    with np.errstate(over="ignore"):
        numbers = as_numbers(values).astype(np.float32).astype(float)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _codes(values: pd.Series, feature: Feature) -> Array:
    """Category codes by decreasing frequency, 0 for the most frequent; the last code is for all others."""
    text = category_texts(values, feature.type)
    counts = text.dropna().value_counts()
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))[:MAX_CODES]
    codes = {value: code for code, (value, _) in enumerate(ordered)}
    coded = text.map(lambda value: np.nan if value is None else codes.get(value, MAX_CODES))
    return np.asarray(coded, dtype=float)


def _signals(column: Array, categorical: bool) -> Iterator[Array]:
    """One column's signals, from which pairs are formed, without constant ones."""
    missing = np.isnan(column)
    if categorical:
        raw = [column == code for code in range(PAIRED_CATEGORIES)]
    else:
        scores = np.zeros(len(column))
        scores[~missing] = _normal_scores(column[~missing])
        raw = [scores, np.abs(scores)]
    for signal in (*raw, missing):
        if (spread := np.std(signal)) > 0:
            yield (signal - np.mean(signal)) / spread


def _normal_scores(values: Array) -> Array:
    from scipy.special import ndtri

    scores: Array = ndtri((ranks(values) - 0.5) / max(len(values), 1))
    return scores


def ranks(values: Array) -> Array:
    """Ranks from 1, shape [n]; equal values share their mean rank."""
    return pd.Series(values).rank().to_numpy()
