"""Multivariate drift: whether a classifier can tell a window's rows from the reference's rows.

It finds what no column shows alone: a change in how columns depend on each other. Both sides are samples of rows.

**The test** is a classifier two-sample test (D. Lopez-Paz, M. Oquab, ICLR 2017; J. Friedman, PHYSTAT 2003). The rows
are cut into four parts by chance; a classifier learns from the parts before and scores the next one (progressive
validation: A. Blum, A. Kalai, J. Langford, COLT 1999). The figure is the mean AUC of the three scored parts.

**The limit needs no resampling.** Without drift the labels of a part may be swapped at will, whatever the earlier parts
taught. So the rank sum of each part has Wilcoxon's null distribution with known variance, ties included (E. Lehmann,
*Nonparametrics* (Holden-Day, 1975), 1.4), and no part's chance is another's. With K-fold cross-validation the same rows
teach and are scored, the parts' figures depend on each other, and their mean has no known variance.

**The classifier** is gradient boosting on the columns, and on products of those few pairs of them whose correlation
differs most between both sides in the rows to learn from. Boosted trees alone hardly see a pair whose columns stay as
they were, since no first split gains anything.

**The effect** is sensitivity plus specificity less one where the classifier is undecided. No classifier exceeds the
total variation distance with it (L. Devroye, L. Györfi, G. Lugosi, *A Probabilistic Theory of Pattern Recognition*
(Springer, 1996), 3.9), so at least this share of rows has moved: the scale of ``monitoring.drift_effect_at_least``. The
threshold is fixed, as the best of many would be too good by chance.
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
"""Of ``monitoring.drift_false_alarm_rate``, for this test; the columns have the rest (union bound)."""
PARTS = 4
ROWS_IN_A_PART = 10
"""Fewer rows of a side in a part teach nothing."""
PAIRS = 10
LARGEST_CODES = 50
PAIRED_CATEGORIES = 5
LARGEST_SIGNALS = 400
"""Pairs are looked for among so many signals, chosen by chance where there are more: it bounds time and memory."""
LEANING = 5


@dataclass(frozen=True)
class Sample:
    """Rows drawn at random, with the features as columns."""

    frame: pd.DataFrame
    drawn_from: int
    """How many rows there were to draw from."""


@dataclass(frozen=True)
class Table:
    """Rows as numbers for the classifier, and as signals for the search of pairs."""

    values: Array
    """Shape [rows, features]: numbers, or codes of categories; NaN is missing."""
    categorical: Array
    """Which features are codes, shape [features]."""
    signals: Array
    """Shape [rows, signals], mean 0 and deviation 1 each: normal scores, their size, indicators."""
    owner: Array
    """The feature that each signal is of, shape [signals]."""

    def part(self, rows: Array) -> Table:
        """Some of the rows, by number or mask."""
        return Table(self.values[rows], self.categorical, self.signals[rows], self.owner)

    def shuffled(self, feature: int, order: Array) -> Table:
        """The rows with one feature in another order."""
        values, signals, mine = self.values.copy(), self.signals.copy(), self.owner == feature
        values[:, feature] = values[order, feature]
        signals[:, mine] = signals[np.ix_(order, mine)]
        return Table(values, self.categorical, signals, self.owner)


@dataclass(frozen=True)
class Classifier:
    """Tells the window from the reference."""

    model: Any
    left: Array
    right: Array
    """Signals of the chosen pairs."""
    even: float
    """Log odds where both sides are equally likely, were they of equal size. Weights would do it, ten times slower."""

    def score(self, table: Table) -> Array:
        """Above 0: rather of the window. Shape [rows]."""
        log_odds: Array = self.model.decision_function(_inputs(table, self.left, self.right))
        return log_odds - self.even


@dataclass(frozen=True)
class Part:
    """What came of one scored part."""

    auc: float
    variance: float
    """Of the AUC, as the rows show it."""
    chance: float
    """Variance of the AUC without drift."""
    moved: float


def unknown(reason: str) -> MultivariateFigure:
    """The figure where there is none."""
    return MultivariateFigure("unknown", reason)


def compare(reference: Sample, window: Sample, spec: ModelSpec, *, seed: int = 0) -> MultivariateFigure:
    """Tell a sample of the window's rows from one of the reference's; the same arguments give the same figure."""
    features = [feature for feature in spec.features if feature.name in reference.frame]
    rows, reference_rows = len(window.frame), len(reference.frame)
    unjudged = partial(
        MultivariateFigure,
        rows=rows,
        reference_rows=reference_rows,
        drawn_from=DrawnFrom(window.drawn_from, reference.drawn_from),
    )
    if len(features) < 2:
        return unjudged("unknown", "it takes two features that the reference has")
    if not rows or not reference_rows:
        return unjudged("unknown", f"the {'reference' if rows else 'window'} has no rows")
    least = spec.monitoring.rows_at_least
    drawn = min(window.drawn_from, reference.drawn_from)
    if drawn < least or min(rows, reference_rows) < PARTS * ROWS_IN_A_PART:
        return unjudged("insufficient", f"fewer than {max(least, PARTS * ROWS_IN_A_PART)} rows")
    table = _table(pd.concat([reference.frame, window.frame], ignore_index=True), features, seed)
    labels = np.repeat([False, True], [reference_rows, rows])
    scored, leaning = _scored(table, labels, features, seed)
    return _judge(unjudged("steady", leaning=tuple(leaning)), scored, spec)


def _judge(figure: MultivariateFigure, scored: Sequence[Part], spec: ModelSpec) -> MultivariateFigure:
    """The figure with what came of the scored parts."""
    rules, normal = spec.monitoring, NormalDist()
    auc = float(np.mean([part.auc for part in scored]))
    error = sqrt(sum(part.variance for part in scored)) / len(scored)
    chance = sqrt(sum(part.chance for part in scored)) / len(scored)
    limit = 0.5 + normal.inv_cdf(1 - SHARE_OF_RATE * rules.drift_false_alarm_rate) * chance
    moved = max(float(np.mean([part.moved for part in scored])), 0.0)
    wide = normal.inv_cdf((1 + spec.metrics.confidence) / 2) * error
    drifted = auc > limit and moved >= rules.drift_effect_at_least
    return replace(
        figure,
        auc=auc,
        error=error,
        low=max(auc - wide, 0.0),
        high=min(auc + wide, 1.0),
        limit=limit,
        moved=moved,
        status="drifted" if drifted else "steady",
    )


def _scored(
    table: Table, labels: Array, features: Sequence[Feature], seed: int
) -> tuple[list[Part], list[FeatureShare]]:
    """The scored parts, and what the classifier of the last one leaned on.

    One thread: sums in the same order give the same figure, and other tasks keep their processor.
    """
    from threadpoolctl import threadpool_limits

    random = np.random.default_rng(seed)
    part_of = _parts(labels, random)
    scored: list[Part] = []
    with threadpool_limits(1):
        for number in range(1, PARTS):
            before, now = np.flatnonzero(part_of < number), np.flatnonzero(part_of == number)
            classifier = _learn(table.part(before), labels[before], seed)
            tested = table.part(now)
            scored.append(_score(classifier.score(tested), labels[now]))
        return scored, list(_leaning(classifier, tested, labels[now], features, random))


def _parts(labels: Array, random: np.random.Generator) -> Array:
    """The part of each row, 0 to PARTS - 1: by chance, with both sides evenly spread."""
    part_of = np.empty(len(labels), dtype=int)
    for side in (False, True):
        rows = np.flatnonzero(labels == side)
        part_of[random.permutation(rows)] = np.arange(len(rows)) % PARTS
    return part_of


def _learn(table: Table, labels: Array, seed: int) -> Classifier:
    from sklearn.ensemble import HistGradientBoostingClassifier

    left, right = _pairs(table, labels)
    inputs = _inputs(table, left, right)
    inputs[:, np.isnan(inputs).all(axis=0)] = 0  # scikit-learn finds no bins for a column without any value
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
    """Signals of two features whose mean product differs most between both sides, in standard errors."""
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


def _score(score: Array, labels: Array) -> Part:
    """AUC of one part with its variance (E. DeLong, D. DeLong, D. Clarke-Pearson, Biometrics 44 (1988))."""
    of_window, of_reference = int(labels.sum()), int((~labels).sum())
    ranks = _ranks(score)
    above = (ranks[labels] - _ranks(score[labels])) / of_reference
    below = 1 - (ranks[~labels] - _ranks(score[~labels])) / of_window
    said = np.sign(score)  # undecided rows count half, or all equal rows would be called one side
    return Part(
        auc=float(above.mean()),
        variance=float(above.var(ddof=1) / of_window + below.var(ddof=1) / of_reference),
        chance=float(ranks.var(ddof=1) / (len(ranks) * of_window * of_reference)),
        moved=float(said[labels].mean() - said[~labels].mean()) / 2,
    )


def _leaning(
    classifier: Classifier, table: Table, labels: Array, features: Sequence[Feature], random: np.random.Generator
) -> Iterator[FeatureShare]:
    """How much of the AUC goes when one feature is shuffled, as a share of all such losses; the largest first.

    Permutation importance on rows that the classifier did not learn from: L. Breiman, Machine Learning 45 (2001).
    """
    whole = _score(classifier.score(table), labels).auc
    order = random.permutation(len(labels))
    lost = np.array(
        [
            max(whole - _score(classifier.score(table.shuffled(number, order)), labels).auc, 0.0)
            for number in range(len(features))
        ]
    )
    for number in np.argsort(-lost, kind="stable")[:LEANING]:
        if lost[number] > 0:
            yield FeatureShare(features[number].name, float(lost[number] / lost.sum()))


def _table(frame: pd.DataFrame, features: Sequence[Feature], seed: int) -> Table:
    """All rows as numbers. Nothing here knows which side a row is of, so that sides can be swapped without drift."""
    values, signals, owner = [], [], []
    for number, feature in enumerate(features):
        categorical = feature.type in ("category", "boolean")
        column = _codes(frame[feature.name], feature) if categorical else _numbers(frame[feature.name])
        values.append(column)
        for signal in _signals(column, categorical):
            signals.append(signal)
            owner.append(number)
    chosen = np.arange(len(owner))
    if len(chosen) > LARGEST_SIGNALS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, LARGEST_SIGNALS, replace=False))
    return Table(
        np.stack(values, axis=1),
        np.array([feature.type in ("category", "boolean") for feature in features]),
        np.stack([signals[signal] for signal in chosen], axis=1) if len(chosen) else np.empty((len(frame), 0)),
        np.array(owner, dtype=int)[chosen],
    )


def _numbers(values: pd.Series) -> Array:
    """Single precision, or a column that only one side keeps in double would tell both apart."""
    with np.errstate(over="ignore"):
        numbers = as_numbers(values).astype(np.float32).astype(float)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _codes(values: pd.Series, feature: Feature) -> Array:
    """Categories by falling frequency, 0 the most frequent; the last code is any other."""
    text = category_texts(values, feature.type)
    counts = text.dropna().value_counts()
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))[:LARGEST_CODES]
    codes = {value: code for code, (value, _) in enumerate(ordered)}
    coded = text.map(lambda value: np.nan if value is None else codes.get(value, LARGEST_CODES))
    return np.asarray(coded, dtype=float)


def _signals(column: Array, categorical: bool) -> Iterator[Array]:
    """What pairs are made of: one column's signals, without those that are the same in all rows."""
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
