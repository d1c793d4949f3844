"""Multivariate drift: whether a classifier can distinguish a window's rows from the reference's rows.

It detects what no single column shows: a change in how columns depend on each other. Both sides are samples of rows.

**The test** is a classifier two-sample test (D. Lopez-Paz, M. Oquab, ICLR 2017; J. Friedman, PHYSTAT 2003). The rows
are randomly divided into four chunks; a classifier is trained on the earlier chunks and scores the next one
(progressive validation: A. Blum, A. Kalai, J. Langford, COLT 1999). The figure is the mean AUC of the three scored
chunks.

**Its limit without drift.** The labels of a chunk are exchangeable, whatever was learned from the earlier chunks. So
the rank sum of each chunk has Wilcoxon's null distribution with known variance, ties included (E. Lehmann,
*Nonparametrics* (Holden-Day, 1975), 1.4), and the chunks are uncorrelated. With K-fold cross-validation, each row is
used for both training and scoring, the folds' figures depend on each other, and the variance of their mean is unknown.

**Dependent rows.** A classifier that has learned a few rows of a session or of a day recognises the rest of it, though
nothing has changed. So whole blocks (``data.dependence``) go into one chunk, and blocks rather than rows are
exchangeable: variances are those of sums over blocks (N. Obuchowski, Biometrics 53 (1997), for the AUC). And each month
differs from all others. So before a window is reported, up to MAX_RUNS runs of as many days of the reference are
compared with the rest of the reference in the same way: the window must be told apart better than they are, beyond the
upper prediction limit of Student's t for one more of them (on the scale of the normal quantile of the AUC).

**The effect** is sensitivity plus specificity minus one at the classifier's neutral threshold. It never exceeds the
total variation distance (L. Devroye, L. Györfi, G. Lugosi, *A Probabilistic Theory of Pattern Recognition* (Springer,
1996), 3.9), so it is a lower bound on the scale of ``monitoring.drift_effect_at_least``. The threshold is fixed,
because the best of many would be too good by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt
from statistics import NormalDist

import numpy as np
import pandas as pd

from include.core.drift.classifier import Classifier, Table, learn, ranks, table_of
from include.core.drift.distribution import Array
from include.core.drift.figures import DrawnFrom, FeatureShare, MultivariateFigure
from include.core.quality.blocks import DAY, NONE, blocks_of
from include.core.spec import Feature, ModelSpec

SHARE_OF_RATE = 0.5
"""This test's share of ``monitoring.drift_false_alarm_rate``; the columns have the rest (union bound)."""
CHUNKS = 4
ROWS_PER_CHUNK = 10
"""Minimum number of rows of each side per chunk; fewer are useless for training. The limit needs as many blocks."""
BLOCKS_PER_CHUNK = 2
"""With fewer blocks of each side per chunk, rows are divided one by one, and the reference's own runs decide."""
MAX_RUNS = 6
LEAST_DAYS = 3
"""Runs can be compared with the rest of the reference from this many days on."""
SIMILAR_ROWS = 0.8
"""A run with a smaller share of the window's rows is compared with as few rows of the window: more teach more."""
MAX_IMPORTANCES = 5
TIME = " event time"
"""A column beside the features, which can't have this name."""


@dataclass(frozen=True)
class Sample:
    """Rows drawn at random, with the features as columns."""

    frame: pd.DataFrame
    drawn_from: int
    """The number of rows from which they were drawn."""
    times: pd.Series | None = None
    """Their event timestamps (UTC); without them, rows count as independent."""

    @property
    def days(self) -> Array:
        """The day of each row, shape [rows]."""
        assert self.times is not None, "only asked for samples with times"
        return pd.to_datetime(self.times).to_numpy().astype("datetime64[D]")

    def take(self, rows: Array) -> Sample:
        """Some of the rows, by position or mask."""
        times = None if self.times is None else self.times.iloc[rows]
        return Sample(self.frame.iloc[rows], self.drawn_from, times)


DrawRun = Callable[[pd.Timestamp, pd.Timestamp, int], Sample]
"""Draws at most so many rows of the reference from the first time (included) to the second (excluded)."""


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


def compare(
    reference: Sample, window: Sample, spec: ModelSpec, *, seed: int = 0, draw_run: DrawRun | None = None
) -> MultivariateFigure:
    """Test a sample of the window's rows against one of the reference's; the same arguments give the same figure.

    ``draw_run`` draws more of the reference; it is called only if the window would be reported otherwise. Where rows
    depend on each other and neither runs nor blocks show what is usual, the answer is ``insufficient`` with a reason.
    """
    compared = [one for one in spec.features if one.name != spec.data.dependence]  # each window has blocks of its own
    features = [one for one in compared if one.name in reference.frame]
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
    blocks = _blocks(reference, window, spec)
    sides = [] if blocks is None else [len(np.unique(one)) for one in np.split(blocks, [reference_rows])]
    few = bool(sides) and min(sides) < CHUNKS * ROWS_PER_CHUNK
    untold = (
        "can't tell how well periods of the reference are recognised without drift: one side has "
        f"{min(sides, default=0)} of the {CHUNKS * ROWS_PER_CHUNK} blocks (data.dependence) that are needed, and the "
        f"reference has rows of fewer than {LEAST_DAYS} days"
    )
    if few and (draw_run is None or len(np.unique(reference.days)) < LEAST_DAYS):
        return unjudged("insufficient", untold)
    scored, importances = _scored(reference, window, features, spec, seed, important=True)
    figure = _judge(unjudged("steady", importances=tuple(importances)), scored, spec)
    if figure.status != "drifted" or blocks is None:
        return figure
    known = _against_runs(figure, reference, window, features, spec, seed, draw_run)
    if known is None and few:
        return replace(figure, status="insufficient", reason=untold)
    return known or figure


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


def _against_runs(
    figure: MultivariateFigure,
    reference: Sample,
    window: Sample,
    features: Sequence[Feature],
    spec: ModelSpec,
    seed: int,
    draw_run: DrawRun | None,
) -> MultivariateFigure | None:
    """The figure judged by runs of the reference's own days; None if there are none.

    Stops at a run that is recognised at least as well as the window: the limit would be above both.
    """
    aucs: list[float] = []
    if draw_run is None:
        return None
    for first, end in _runs(reference, window, seed):
        run = draw_run(first, end, len(window.frame))
        inside = (reference.days >= first.to_datetime64()) & (reference.days < end.to_datetime64())
        rest = reference.take(np.flatnonzero(~inside))
        if min(len(run.frame), len(rest.frame)) < CHUNKS * ROWS_PER_CHUNK:
            continue
        if len(run.frame) < SIMILAR_ROWS * len(window.frame):
            chosen = np.random.default_rng(seed).choice(len(window.frame), len(run.frame), replace=False)
            window = window.take(np.sort(chosen))
            scored, _ = _scored(reference, window, features, spec, seed)
            figure = _judge(replace(figure, rows=len(window.frame)), scored, spec)
        scored, _ = _scored(rest, run, features, spec, seed)
        aucs.append(float(np.mean([chunk.auc for chunk in scored])))
        if aucs[-1] >= (figure.auc or 0.0):
            return replace(figure, limit=max(aucs), status="steady", runs=len(aucs))
    if len(aucs) < 2:
        return None
    limit = max(prediction_limit(aucs, SHARE_OF_RATE * spec.monitoring.drift_false_alarm_rate), figure.limit or 0.0)
    drifted = figure.status == "drifted" and (figure.auc or 0.0) > limit
    return replace(figure, limit=limit, status="drifted" if drifted else "steady", runs=len(aucs))


def prediction_limit(aucs: Sequence[float], rate: float) -> float:
    """The AUC that one more run exceeds with probability ``rate``; Student's t on the scale of the normal quantile."""
    from scipy.special import ndtr, ndtri, stdtrit

    scale = ndtri(np.clip(aucs, 1e-6, 1 - 1e-6))
    wide = stdtrit(len(scale) - 1, 1 - rate) * np.std(scale, ddof=1) * sqrt(1 + 1 / len(scale))
    return float(ndtr(np.mean(scale) + wide))


def _runs(reference: Sample, window: Sample, seed: int) -> Iterator[tuple[pd.Timestamp, pd.Timestamp]]:
    """Start and end of at most MAX_RUNS separate runs of as many days as the window has, in random order.

    A run is at most a third of the reference.
    """
    days = np.unique(reference.days)
    if len(days) < LEAST_DAYS:
        return
    length = min(len(np.unique(window.days)), len(days) // LEAST_DAYS)
    starts = np.arange(0, len(days) - length + 1, length)
    for start in np.random.default_rng(seed).permutation(starts)[:MAX_RUNS]:
        yield pd.Timestamp(days[start]), pd.Timestamp(days[start + length - 1]) + pd.Timedelta(days=1)


def _blocks(reference: Sample, window: Sample, spec: ModelSpec) -> Array | None:
    """The block of each row, first the reference's; None if rows are independent."""
    if reference.times is None or window.times is None or spec.data.dependence == NONE:
        return None
    rows = pd.concat([reference.frame, window.frame], ignore_index=True)
    rows[TIME] = np.concatenate([pd.to_datetime(times).to_numpy() for times in (reference.times, window.times)])
    known = spec.data.dependence == DAY or spec.data.dependence in rows
    own = spec.data if known else spec.data.model_copy(update={"dependence": DAY})  # the reference lacks the feature
    return blocks_of(rows, spec.model_copy(update={"data": own}), TIME)


def _scored(
    reference: Sample,
    window: Sample,
    features: Sequence[Feature],
    spec: ModelSpec,
    seed: int,
    *,
    important: bool = False,
) -> tuple[list[ScoredChunk], list[FeatureShare]]:
    """The scored chunks, and the feature importances of the last classifier.

    One thread: sums in a fixed order give reproducible figures, and other tasks keep their CPU.
    """
    from threadpoolctl import threadpool_limits

    table = table_of(pd.concat([reference.frame, window.frame], ignore_index=True), features, seed)
    labels = np.repeat([False, True], [len(reference.frame), len(window.frame)])
    blocks = _blocks(reference, window, spec)
    units = np.arange(len(labels)) if blocks is None else blocks
    random = np.random.default_rng(seed)
    chunk_of = _chunks(labels, units, random)
    scored: list[ScoredChunk] = []
    with threadpool_limits(1):
        for number in range(1, CHUNKS):
            before, now = np.flatnonzero(chunk_of < number), np.flatnonzero(chunk_of == number)
            classifier = learn(table.take(before), labels[before], seed)
            tested = table.take(now)
            scored.append(_score(classifier.score(tested), labels[now], units[now]))
        importances = list(_importances(classifier, tested, labels[now], features, random)) if important else []
    return scored, importances


def _chunks(labels: Array, units: Array, random: np.random.Generator) -> Array:
    """The chunk of each row, 0 to CHUNKS - 1: whole units at random, with both sides evenly distributed."""
    chunk_of_unit = np.full(int(units.max()) + 1, -1)
    sides = [np.unique(units[labels == side]) for side in (False, True)]
    for own in sides:
        new = own[chunk_of_unit[own] < 0]  # a unit of both sides, such as a turbine, is in one chunk
        chunk_of_unit[random.permutation(new)] = np.arange(len(new)) % CHUNKS
    chunk_of: Array = chunk_of_unit[units]
    everywhere = all(len(np.unique(chunk_of[labels == side])) == CHUNKS for side in (False, True))
    if everywhere and min(len(own) for own in sides) >= BLOCKS_PER_CHUNK * CHUNKS:
        return chunk_of
    return _chunks(labels, np.arange(len(labels)), random)


def _score(score: Array, labels: Array, units: Array) -> ScoredChunk:
    """AUC of one chunk with its variance (E. DeLong, D. DeLong, D. Clarke-Pearson, Biometrics 44 (1988)).

    ``units`` are the rows' blocks, shape [rows]: the same values belong together.
    """
    of_window, of_reference = int(labels.sum()), int((~labels).sum())
    ranked = ranks(score)
    above = (ranked[labels] - ranks(score[labels])) / of_reference
    below = 1 - (ranked[~labels] - ranks(score[~labels])) / of_window
    decision = np.sign(score)  # neutral scores count half; otherwise identical rows would all be assigned to one side
    sums = _sums(ranked, 2 * units + labels)
    blocks, of_the_window = len(sums), len(np.unique(units[labels]))
    exchanged = of_the_window * (blocks - of_the_window) / (blocks * max(blocks - 1, 1))
    return ScoredChunk(
        auc=float(above.mean()),
        variance=_variance_of_mean(above, units[labels]) + _variance_of_mean(below, units[~labels]),
        chance=float(exchanged * (sums**2).sum() / (of_window * of_reference) ** 2),
        total_variation=float(decision[labels].mean() - decision[~labels].mean()) / 2,
    )


def _sums(values: Array, units: Array) -> Array:
    """The sum of the values' distances from their mean, for each unit."""
    _, unit = np.unique(units, return_inverse=True)
    return np.bincount(unit, values - values.mean())


def _variance_of_mean(values: Array, units: Array) -> float:
    sums = _sums(values, units)
    return float(len(sums) / max(len(sums) - 1, 1) * (sums**2).sum() / len(values) ** 2)


def _importances(
    classifier: Classifier, table: Table, labels: Array, features: Sequence[Feature], random: np.random.Generator
) -> Iterator[FeatureShare]:
    """The AUC lost when a feature is shuffled, as a share of all such losses, largest first.

    Permutation importance on rows that were not used for training: L. Breiman, Machine Learning 45 (2001).
    """
    rows = np.arange(len(labels))
    full = _score(classifier.score(table), labels, rows).auc
    order = random.permutation(len(labels))
    lost = np.array(
        [
            max(full - _score(classifier.score(table.shuffled(number, order)), labels, rows).auc, 0.0)
            for number in range(len(features))
        ]
    )
    for number in np.argsort(-lost, kind="stable")[:MAX_IMPORTANCES]:
        if lost[number] > 0:
            yield FeatureShare(features[number].name, float(lost[number] / lost.sum()))
