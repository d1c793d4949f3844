"""Multivariate drift: whether a classifier can distinguish a window's rows from the reference's rows.

It detects what no single column shows: a change in how columns depend on each other. Both sides are samples of rows.

**The test** is a classifier two-sample test (D. Lopez-Paz, M. Oquab, ICLR 2017; J. Friedman, PHYSTAT 2003). The rows
are randomly divided into four chunks; a classifier is trained on the earlier chunks and scores the next one
(progressive validation: A. Blum, A. Kalai, J. Langford, COLT 1999). The figure is the mean AUC of the three scored
chunks.

**The limit needs no resampling.** Without drift, the labels of a chunk are exchangeable, whatever was learned from the
earlier chunks. So the rank sum of each chunk has Wilcoxon's null distribution with known variance, ties included (E.
Lehmann, *Nonparametrics* (Holden-Day, 1975), 1.4), and the chunks are uncorrelated. With K-fold cross-validation, each
row is used for both training and scoring, the folds' figures depend on each other, and the variance of their mean is
unknown.

**The classifier** is gradient boosting on the columns, and on products of the few pairs of columns whose correlation
differs most between both sides in the training rows. Boosted trees alone hardly detect a pair with unchanged marginals,
since no first split gains anything.

**The effect** is sensitivity plus specificity minus one at the classifier's neutral threshold. It never exceeds the
total variation distance (L. Devroye, L. Györfi, G. Lugosi, *A Probabilistic Theory of Pattern Recognition* (Springer,
1996), 3.9), so it is a lower bound on the scale of ``monitoring.drift_effect_at_least``. The threshold is fixed,
because the best of many would be too good by chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from include.core.categories import category_texts
from include.core.drift.figures import DrawnFrom, FeatureShare, MultivariateFigure
from include.core.drift.profile import Array, as_numbers
from include.core.spec import Feature, ModelSpec

SHARE_OF_RATE = 0.5
"""This test's share of ``monitoring.drift_false_alarm_rate``; the columns have the rest (union bound)."""
CHUNKS = 4
ROWS_PER_CHUNK = 10
"""Minimum number of rows of each side per chunk; fewer are useless for training."""
PAIRS = 10
MAX_CODES = 50
PAIRED_CATEGORIES = 5
MAX_SIGNALS = 400
"""Pairs are searched among at most this many randomly chosen signals, which limits time and memory."""
MAX_IMPORTANCES = 5


@dataclass(frozen=True)
class Sample:
    """Rows drawn at random, with the features as columns."""

    frame: pd.DataFrame
    drawn_from: int
    """The number of rows from which they were drawn."""


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


@dataclass(frozen=True)
class ScoredChunk:
    """The figures of one scored chunk."""

    auc: float
    variance: float
    """Estimated variance of the AUC."""
    chance: float
    """Variance of the AUC without drift."""
    total_variation: float


def unknown(reason: str) -> MultivariateFigure:
    """The figure of a test that could not be made."""
    return MultivariateFigure("unknown", reason)


def compare(reference: Sample, window: Sample, spec: ModelSpec, *, seed: int = 0) -> MultivariateFigure:
    """Test a sample of the window's rows against one of the reference's; the same arguments give the same figure."""
    features = [feature for feature in spec.features if feature.name in reference.frame]
    rows, reference_rows = len(window.frame), len(reference.frame)
    unjudged = partial(
        MultivariateFigure,
        rows=rows,
        reference_rows=reference_rows,
        drawn_from=DrawnFrom(window.drawn_from, reference.drawn_from),
    )
    if len(features) < 2:
        return unjudged("unknown", "at least two features must be in the reference")
    if not rows or not reference_rows:
        return unjudged("unknown", f"the {'reference' if rows else 'window'} has no rows")
    least = spec.monitoring.rows_at_least
    drawn = min(window.drawn_from, reference.drawn_from)
    if drawn < least or min(rows, reference_rows) < CHUNKS * ROWS_PER_CHUNK:
        return unjudged("insufficient", f"fewer than {max(least, CHUNKS * ROWS_PER_CHUNK)} rows")
    table = _table(pd.concat([reference.frame, window.frame], ignore_index=True), features, seed)
    labels = np.repeat([False, True], [reference_rows, rows])
    scored, importances = _scored(table, labels, features, seed)
    return _judge(unjudged("steady", importances=tuple(importances)), scored, spec)


def _judge(figure: MultivariateFigure, scored: Sequence[ScoredChunk], spec: ModelSpec) -> MultivariateFigure:
    """The figure with the results of the scored chunks."""
    rules, normal = spec.monitoring, NormalDist()
    auc = float(np.mean([chunk.auc for chunk in scored]))
    error = sqrt(sum(chunk.variance for chunk in scored)) / len(scored)
    chance = sqrt(sum(chunk.chance for chunk in scored)) / len(scored)
    limit = 0.5 + normal.inv_cdf(1 - SHARE_OF_RATE * rules.drift_false_alarm_rate) * chance
    total_variation = max(float(np.mean([chunk.total_variation for chunk in scored])), 0.0)
    wide = normal.inv_cdf((1 + spec.metrics.confidence) / 2) * error
    drifted = auc > limit and total_variation >= rules.drift_effect_at_least
    return replace(
        figure,
        auc=auc,
        error=error,
        low=max(auc - wide, 0.0),
        high=min(auc + wide, 1.0),
        limit=limit,
        total_variation=total_variation,
        status="drifted" if drifted else "steady",
    )


def _scored(
    table: Table, labels: Array, features: Sequence[Feature], seed: int
) -> tuple[list[ScoredChunk], list[FeatureShare]]:
    """The scored chunks, and the feature importances of the last classifier.

    One thread: sums in a fixed order give reproducible figures, and other tasks keep their CPU.
    """
    from threadpoolctl import threadpool_limits

    random = np.random.default_rng(seed)
    chunk_of = _chunks(labels, random)
    scored: list[ScoredChunk] = []
    with threadpool_limits(1):
        for number in range(1, CHUNKS):
            before, now = np.flatnonzero(chunk_of < number), np.flatnonzero(chunk_of == number)
            classifier = _learn(table.take(before), labels[before], seed)
            tested = table.take(now)
            scored.append(_score(classifier.score(tested), labels[now]))
        return scored, list(_importances(classifier, tested, labels[now], features, random))


def _chunks(labels: Array, random: np.random.Generator) -> Array:
    """The chunk of each row, 0 to CHUNKS - 1: random, with both sides evenly distributed."""
    chunk_of = np.empty(len(labels), dtype=int)
    for side in (False, True):
        rows = np.flatnonzero(labels == side)
        chunk_of[random.permutation(rows)] = np.arange(len(rows)) % CHUNKS
    return chunk_of


def _learn(table: Table, labels: Array, seed: int) -> Classifier:
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


def _score(score: Array, labels: Array) -> ScoredChunk:
    """AUC of one chunk with its variance (E. DeLong, D. DeLong, D. Clarke-Pearson, Biometrics 44 (1988))."""
    of_window, of_reference = int(labels.sum()), int((~labels).sum())
    ranks = _ranks(score)
    above = (ranks[labels] - _ranks(score[labels])) / of_reference
    below = 1 - (ranks[~labels] - _ranks(score[~labels])) / of_window
    decision = np.sign(score)  # neutral scores count half; otherwise identical rows would all be assigned to one side
    return ScoredChunk(
        auc=float(above.mean()),
        variance=float(above.var(ddof=1) / of_window + below.var(ddof=1) / of_reference),
        chance=float(ranks.var(ddof=1) / (len(ranks) * of_window * of_reference)),
        total_variation=float(decision[labels].mean() - decision[~labels].mean()) / 2,
    )


def _importances(
    classifier: Classifier, table: Table, labels: Array, features: Sequence[Feature], random: np.random.Generator
) -> Iterator[FeatureShare]:
    """The AUC lost when a feature is shuffled, as a share of all such losses, largest first.

    Permutation importance on rows that were not used for training: L. Breiman, Machine Learning 45 (2001).
    """
    full = _score(classifier.score(table), labels).auc
    order = random.permutation(len(labels))
    lost = np.array(
        [
            max(full - _score(classifier.score(table.shuffled(number, order)), labels).auc, 0.0)
            for number in range(len(features))
        ]
    )
    for number in np.argsort(-lost, kind="stable")[:MAX_IMPORTANCES]:
        if lost[number] > 0:
            yield FeatureShare(features[number].name, float(lost[number] / lost.sum()))


def _table(frame: pd.DataFrame, features: Sequence[Feature], seed: int) -> Table:
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

    scores: Array = ndtri((_ranks(values) - 0.5) / max(len(values), 1))
    return scores


def _ranks(values: Array) -> Array:
    """Ranks from 1; equal values share their mean rank."""
    return pd.Series(values).rank().to_numpy()
