"""Drift: how far a window's features and predictions are from the reference of the version that answered.

A column has drifted when a deciding score (PSI; for numbers also the Kolmogorov-Smirnov distance) is above the limit
that chance sets (:mod:`include.core.drift.limits`) *and* at least ``monitoring.drift_effect_at_least`` of its rows have
moved: in a large window the smallest change is certain, and still does not matter. What columns don't show one by one
is the multivariate test's (:mod:`core.drift.multivariate`); where it judges, both share the rate of false alarms.
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
from include.core.drift.limits import Array, Judged, limits, sampling_errors
from include.core.drift.profile import CategoryDistribution, Distribution, NumericDistribution, Profile
from include.core.drift.side_by_side import side_by_side, worth_drawing
from include.core.spec import PREDICTION, ModelSpec

PSI_BINS = 10
"""Quantiles of a numeric column are joined to about ten bins for PSI: more of them mostly add noise."""


def drift(
    profile: Profile | None,
    window: WindowCount,
    spec: ModelSpec,
    together: MultivariateFigure | None = None,
) -> DriftSummary:
    """Every feature and the prediction of a counted window against the profile that it was counted with.

    ``together`` is the result of :func:`core.drift.multivariate.compare`: it is part of the summary's ``status``, but
    names no column as drifted. A column's status is ``unknown`` without rows or reference, and ``insufficient`` with
    fewer than ``monitoring.rows_at_least`` rows on either side, which never is drift. The features that drifted most
    and the prediction get a ``distribution`` (:func:`core.drift.side_by_side.side_by_side`).
    """
    rules = spec.monitoring
    together = together or multivariate.unknown("rows were not compared")
    rate = rules.drift_false_alarm_rate * (1 - multivariate.SHARE_OF_RATE if together.judged else 1)
    to_judge: dict[str, Judged] = {}
    scored: dict[str, DriftFigure] = {}
    for feature in counted_columns(spec):
        reference = reference_of(profile, feature.name)
        count = window.columns.get(feature.name, ColumnCount())
        scored[feature.name] = _score(feature.name, count, reference)
        if reference and min(count.rows, reference["rows"]) >= rules.rows_at_least:
            to_judge[feature.name] = Judged(_bins(reference), _observed(count), partial(_deciding, reference))
    allowed = limits(to_judge, rate)
    judged = {
        name: _judge(figure, allowed.get(name, {}), rules.drift_effect_at_least) for name, figure in scored.items()
    }
    figures = _with_distributions(judged, profile, window)
    return DriftSummary(
        features={name: figure for name, figure in figures.items() if name != PREDICTION.name},
        prediction=figures[PREDICTION.name],
        multivariate=together,
        drifted=tuple(name for name, figure in figures.items() if figure.status == "drifted"),
        status=_overall([together.status, *(figure.status for figure in figures.values())]),
        false_alarm_rate=rules.drift_false_alarm_rate,
        effect_at_least=rules.drift_effect_at_least,
    )


def _with_distributions(
    figures: Mapping[str, DriftFigure], profile: Profile | None, window: WindowCount
) -> dict[str, DriftFigure]:
    """The figures, with both sides in a few bins for those columns that are drawn."""
    features = {name: figure for name, figure in figures.items() if name != PREDICTION.name}
    drawn = dict(figures)
    for name in [*worth_drawing(features), PREDICTION.name]:
        reference, count = reference_of(profile, name), window.columns.get(name, ColumnCount())
        if reference and count.rows:
            starts = _joined(reference) if reference["kind"] == "numeric" else np.array([], dtype=int)
            drawn[name] = replace(drawn[name], distribution=side_by_side(reference, count, starts))
    return drawn


def _judge(figure: DriftFigure, limits: Mapping[str, float], effect: float) -> DriftFigure:
    """The figure with its limits, and the status that follows from them."""
    return replace(figure, limits=limits, status=_status(figure, limits, effect))


def _status(figure: DriftFigure, limits: Mapping[str, float], effect: float) -> DriftStatus:
    if figure.psi is None:
        return "unknown"
    if not limits:
        return "insufficient"
    beyond = any(score > limits[name] for name, score in figure.scores.items() if name in limits and score is not None)
    return "drifted" if beyond and (figure.moved or 0.0) >= effect else "steady"


def _overall(statuses: list[DriftStatus]) -> DriftStatus:
    order: tuple[DriftStatus, ...] = ("drifted", "steady", "insufficient")
    return next((status for status in order if status in statuses), "unknown")


def _score(name: str, count: ColumnCount, reference: Distribution | None) -> DriftFigure:
    """The shares of missing values, and all scores of one column with their errors where it has rows and reference."""
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
    if not observed[:-1].any() or not expected[:-1].any():  # nothing is present on one side: there is no distance
        for distance in {"ks", "wasserstein"} & set(scores):
            scores[distance] = None
            del errors[distance]
    if reference["kind"] == "numeric":
        return replace(figure, scores=scores, errors=errors)
    return replace(figure, scores=scores, errors=errors, new=dict(count.new), vanished=_vanished(reference, count))


def _bins(reference: Distribution) -> Array:
    """Counts of the reference by bin; missing values last."""
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
        "moved": divergence.moved(expected, observed),
    }


def _numeric(reference: NumericDistribution, count: ColumnCount, expected: Array, observed: Array) -> dict[str, Array]:
    coarse = _joined(reference)
    before, now = _join(expected, coarse), _join(observed, coarse)
    positions, steps = _positions(reference, count)
    return {
        **_deciding(reference, expected, observed),
        "wasserstein": divergence.wasserstein(expected[..., :-1], observed[..., :-1], positions, steps=steps),
        "js": divergence.jensen_shannon(before, now),
        "moved": divergence.moved(before, now),
    }


def _joined(reference: NumericDistribution) -> Array:
    """First fine bin of each PSI bin, missing values on their own.

    What lies below or above anything that the reference saw counts to its lowest or highest bin; a value that many rows
    share is never cut. Few values keep a bin each, and so does what is below and above them.
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
    """Where the mass of each bin is, for the Wasserstein distance; see there."""
    edges = np.asarray(reference["edges"], dtype=float)
    if not len(edges):
        return np.zeros(2), False
    low = edges[0] if count.low is None else min(edges[0], count.low)
    high = edges[-1] if count.high is None else max(edges[-1], count.high)
    if "values" in reference:
        return np.array([low, *reference["values"], high]), True
    return np.array([low, *edges, high]), False


def _vanished(reference: CategoryDistribution, count: ColumnCount) -> tuple[str, ...]:
    """Categories of which there is none left, though by the reference at least ten rows were to be expected.

    With ten expected rows, none at all happens to one category in 20,000 (exp(-10)).
    """
    share = count.rows / reference["rows"]
    listed = zip(reference["counts"].items(), count.bins, strict=False)
    return tuple(value for (value, before), now in listed if not now and before * share >= 10)
