"""Drift: how far a window's features and predictions are from the reference of the version that made them.

A column has drifted if a deciding score (PSI; for numbers also the Kolmogorov-Smirnov distance) is above the limit for
chance (:mod:`include.core.drift.limits`) *and* its total variation is at least ``monitoring.drift_effect_at_least``: in
a large window even the smallest change is significant, but still does not matter. Changes that no single column shows
are left to the multivariate test (:mod:`core.drift.multivariate`); if it runs, both share the false alarm rate.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from include.core.drift import divergence, multivariate
from include.core.drift.counts import ColumnCount, WindowCount, counted_columns, reference_of
from include.core.drift.figures import DriftFigure, DriftStatus, DriftSummary, MultivariateFigure
from include.core.drift.limits import Array, JudgedColumn, limits, sampling_errors
from include.core.drift.profile import CategoryDistribution, Distribution, NumericDistribution, Profile
from include.core.drift.side_by_side import side_by_side, worth_drawing
from include.core.spec import PREDICTION, ModelSpec

PSI_BINS = 10
"""For PSI, the quantiles of a numeric column are merged into about ten bins; more bins mostly add noise."""


def drift(
    profile: Profile | None,
    window: WindowCount,
    spec: ModelSpec,
    multivariate_figure: MultivariateFigure | None = None,
) -> DriftSummary:
    """Compare every feature and the prediction of a counted window with the profile that it was counted with.

    ``multivariate_figure`` is the result of :func:`core.drift.multivariate.compare`: it affects the summary's
    ``status``, but marks no column as drifted. A column's status is ``unknown`` without rows or reference, and
    ``insufficient`` with fewer than ``monitoring.rows_at_least`` rows on either side, which never counts as drift. The
    features that drifted most and the prediction get a ``distribution``
    (:func:`core.drift.side_by_side.side_by_side`).
    """
    rules = spec.monitoring
    combined = multivariate_figure or multivariate.unknown("rows were not compared")
    rate = rules.drift_false_alarm_rate * (1 - multivariate.SHARE_OF_RATE if combined.judged else 1)
    to_judge: dict[str, JudgedColumn] = {}
    scored: dict[str, DriftFigure] = {}
    for feature in counted_columns(spec):
        reference = reference_of(profile, feature.name)
        count = window.columns.get(feature.name, ColumnCount())
        scored[feature.name] = _score(feature.name, count, reference)
        if reference and min(count.rows, reference["rows"]) >= rules.rows_at_least:
            to_judge[feature.name] = JudgedColumn(_bins(reference), _observed(count), partial(_deciding, reference))
    allowed = limits(to_judge, rate)
    judged = {
        name: _judge(figure, allowed.get(name, {}), rules.drift_effect_at_least) for name, figure in scored.items()
    }
    figures = _with_distributions(judged, profile, window)
    return DriftSummary(
        features={name: figure for name, figure in figures.items() if name != PREDICTION.name},
        prediction=figures[PREDICTION.name],
        multivariate=combined,
        drifted=tuple(name for name, figure in figures.items() if figure.status == "drifted"),
        status=_overall([combined.status, *(figure.status for figure in figures.values())]),
        false_alarm_rate=rules.drift_false_alarm_rate,
        effect_at_least=rules.drift_effect_at_least,
    )


def _with_distributions(
    figures: Mapping[str, DriftFigure], profile: Profile | None, window: WindowCount
) -> dict[str, DriftFigure]:
    """The figures, with both distributions in a few bins for the columns that are drawn."""
    features = {name: figure for name, figure in figures.items() if name != PREDICTION.name}
    drawn = dict(figures)
    for name in [*worth_drawing(features), PREDICTION.name]:
        reference, count = reference_of(profile, name), window.columns.get(name, ColumnCount())
        if reference and count.rows:
            starts = _joined(reference) if reference["kind"] == "numeric" else np.array([], dtype=int)
            drawn[name] = replace(drawn[name], distribution=side_by_side(reference, count, starts))
    return drawn


def _judge(figure: DriftFigure, limits: Mapping[str, float], effect: float) -> DriftFigure:
    """The figure with its limits and the resulting status."""
    return replace(figure, limits=limits, status=_status(figure, limits, effect))


def _status(figure: DriftFigure, limits: Mapping[str, float], effect: float) -> DriftStatus:
    if figure.psi is None:
        return "unknown"
    if not limits:
        return "insufficient"
    beyond = any(score > limits[name] for name, score in figure.scores.items() if name in limits and score is not None)
    return "drifted" if beyond and (figure.total_variation or 0.0) >= effect else "steady"


def _overall(statuses: list[DriftStatus]) -> DriftStatus:
    order: tuple[DriftStatus, ...] = ("drifted", "steady", "insufficient")
    return next((status for status in order if status in statuses), "unknown")


def _score(name: str, count: ColumnCount, reference: Distribution | None) -> DriftFigure:
    """The shares of missing values and, with rows and a reference, all scores of one column with their errors."""
    figure = DriftFigure(
        missing=count.missing / count.rows if count.rows else None,
        reference_missing=reference["missing"] / reference["rows"] if reference else None,
    )
    if reference is None or not count.rows:
        return figure
    expected, observed = _bins(reference), _observed(count)
    score = partial(_numeric, reference, count) if reference["kind"] == "numeric" else partial(_category, reference)
    scores: dict[str, float | None] = {name: float(value) for name, value in score(expected, observed).items()}
    errors = sampling_errors(expected, observed, score, seed=zlib.crc32(name.encode()))
    if not observed[:-1].any() or not expected[:-1].any():  # no values on one side, so there is no distance
        for distance in {"ks", "wasserstein"} & set(scores):
            scores[distance] = None
            del errors[distance]
    if reference["kind"] == "numeric":
        return replace(figure, scores=scores, errors=errors)
    return replace(figure, scores=scores, errors=errors, new=dict(count.new), vanished=_vanished(reference, count))


def _bins(reference: Distribution) -> Array:
    """The reference's counts by bin, missing values last."""
    if reference["kind"] == "category":
        return np.array([*reference["counts"].values(), reference["other"], reference["missing"]], dtype=float)
    return np.array([*reference["counts"], reference["missing"]], dtype=float)


def _observed(count: ColumnCount) -> Array:
    return np.array([*count.bins, count.missing], dtype=float)


def _deciding(reference: Distribution, expected: Array, observed: Array) -> dict[str, Array]:
    if reference["kind"] == "category":
        return {"psi": divergence.psi(expected, observed)}
    coarse = _joined(reference)
    return {
        "psi": divergence.psi(_join(expected, coarse), _join(observed, coarse)),
        "ks": divergence.kolmogorov_smirnov(expected[..., :-1], observed[..., :-1]),
    }


def _category(reference: CategoryDistribution, expected: Array, observed: Array) -> dict[str, Array]:
    return {
        **_deciding(reference, expected, observed),
        "js": divergence.jensen_shannon(expected, observed),
        "chi_square": divergence.chi_square(expected, observed),
        "total_variation": divergence.total_variation(expected, observed),
    }


def _numeric(reference: NumericDistribution, count: ColumnCount, expected: Array, observed: Array) -> dict[str, Array]:
    coarse = _joined(reference)
    before, now = _join(expected, coarse), _join(observed, coarse)
    positions, steps = _positions(reference, count)
    return {
        **_deciding(reference, expected, observed),
        "wasserstein": divergence.wasserstein(expected[..., :-1], observed[..., :-1], positions, steps=steps),
        "js": divergence.jensen_shannon(before, now),
        "total_variation": divergence.total_variation(before, now),
    }


def _joined(reference: NumericDistribution) -> Array:
    """The first fine bin of each PSI bin; missing values are a bin of their own.

    Values below or above the reference's range belong to its lowest or highest bin; a value that many rows share is
    never split. If there are few values, each keeps its own bin, and so do values below and above them.
    """
    counts = np.asarray(reference["counts"], dtype=float)
    if "values" in reference:
        return np.arange(len(counts) + 1)
    middle = np.cumsum(counts) - counts / 2
    group = np.minimum(middle * PSI_BINS // max(counts.sum(), 1), PSI_BINS - 1)
    return np.array([*np.flatnonzero(np.diff(group, prepend=-1) > 0), len(counts)])


def _join(counts: Array, starts: Array) -> Array:
    return np.add.reduceat(counts, starts, axis=-1)


def _positions(reference: NumericDistribution, count: ColumnCount) -> tuple[Array, bool]:
    """The positions of the bins' mass, for the Wasserstein distance."""
    edges = np.asarray(reference["edges"], dtype=float)
    if not len(edges):
        return np.zeros(2), False
    low = edges[0] if count.low is None else min(edges[0], count.low)
    high = edges[-1] if count.high is None else max(edges[-1], count.high)
    if "values" in reference:
        return np.array([low, *reference["values"], high]), True
    return np.array([low, *edges, high]), False


def _vanished(reference: CategoryDistribution, count: ColumnCount) -> tuple[str, ...]:
    """Categories that no longer occur, although at least ten rows were expected from the reference.

    With ten expected rows, the probability of none is 1 in 20,000 (exp(-10)).
    """
    share = count.rows / reference["rows"]
    listed = zip(reference["counts"].items(), count.bins, strict=False)
    return tuple(value for (value, before), now in listed if not now and before * share >= 10)
