"""Drift: how far a window's features and predictions are from the reference of the version that made them.

A column has drifted if a deciding score (PSI; for numbers also the Kolmogorov-Smirnov distance) is above the limit for
windows without drift (:mod:`include.core.drift.limits`) *and* its total variation is at least
``monitoring.drift_effect_at_least``: in a large window even the smallest change is significant, but still does not
matter. A column whose values change with the season may hide a third of missing values in that; so values that are
missing, or outside the reference's range or list, are judged by themselves as well (``range_psi``). Changes that no
single column shows are left to the multivariate test (:mod:`core.drift.multivariate`); if it runs, both share the false
alarm rate.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from include.core.drift import divergence, multivariate
from include.core.drift.bins import merge, merged_starts, reference_counts
from include.core.drift.counts import ColumnCount, WindowCount, counted_columns, reference_of
from include.core.drift.distribution import CategoryDistribution, Distribution, NumericDistribution, Profile
from include.core.drift.figures import DriftFigure, DriftStatus, DriftSummary, MultivariateFigure
from include.core.drift.limits import Array, JudgedColumn, limits, sampling_errors
from include.core.drift.side_by_side import side_by_side, worth_drawing
from include.core.drift.spread import LEAST_INDEPENDENT_ROWS, Deviations, deviations
from include.core.quality.blocks import DAY, NONE
from include.core.spec import PREDICTION, ModelSpec

LEAST_RANGE_EFFECT = 0.01
"""Smaller shares of rows that are newly missing or outside the reference's range never decide, whatever the spec."""


def drift(
    profile: Profile | None,
    window: WindowCount,
    spec: ModelSpec,
    multivariate_figure: MultivariateFigure | None = None,
    *,
    days: int = 1,
) -> DriftSummary:
    """Compare every feature and the prediction of a counted window with the profile that it was counted with.

    ``multivariate_figure`` is the result of :func:`core.drift.multivariate.compare`: it affects the summary's
    ``status``, but marks no column as drifted. A column's status is ``unknown`` without rows or reference, and
    ``insufficient`` with a reason if it can't be judged, for example with fewer than ``monitoring.rows_at_least`` rows
    on either side, which never counts as drift. ``days`` is the number of days of the window that have rows. The
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
        apart = _apart(reference, spec, days)
        scored[feature.name] = _score(feature.name, count, reference, apart, rules.drift_effect_at_least)
        if reference and not (reason := _why_not(count, reference, apart, rules.rows_at_least)):
            observed, score = _observed(count), partial(_deciding, reference, rules.drift_effect_at_least)
            to_judge[feature.name] = JudgedColumn(reference_counts(reference), observed, score, _known(apart))
        elif reference and count.rows:
            scored[feature.name] = replace(scored[feature.name], reason=reason)
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
        basis=_basis(profile, spec, days),
    )


def _basis(profile: Profile | None, spec: ModelSpec, days: int) -> str:
    """What the limits take into account, in a sentence."""
    dependence = spec.data.dependence
    if dependence == NONE:
        return "Limits count rows as independent of each other (data.dependence: none)."
    columns = [reference_of(profile, feature.name) for feature in counted_columns(spec)]
    if not any(reference and "spread" in reference for reference in columns):
        return (
            "Limits count rows as independent of each other, since the version's profile has no counts by day. "
            "The next training writes them."
        )
    known = [apart for one in columns if isinstance(apart := _apart(one, spec, days), Deviations)]
    blocks = "" if dependence == DAY else f", and how much rows of the same {dependence} resemble each other"
    lengths = sorted({apart.days for apart in known if apart.days})
    if not lengths:
        return f"Limits don't include how periods of the reference differ: it has too few days{blocks}."
    runs = " or ".join(map(str, lengths))
    shorter = "" if min(lengths) >= days else " (at most a third of the reference, which is shorter than the window)"
    return f"Limits include how runs of {runs} days of the reference differ from the rest of it{shorter}{blocks}."


def _apart(reference: Distribution | None, spec: ModelSpec, days: int) -> Deviations | str | None:
    """How windows of the column differ without drift; text: why it can't be told; None: rows count as independent."""
    spread = None if reference is None or spec.data.dependence == NONE else reference.get("spread")
    return deviations(reference, spread, days) if reference and spread else None


def _known(apart: Deviations | str | None) -> Deviations | None:
    return None if isinstance(apart, str) else apart


def _why_not(count: ColumnCount, reference: Distribution, apart: Deviations | str | None, least: int) -> str | None:
    """Why a column can't be judged; None if it can."""
    if min(count.rows, reference["rows"]) < least:
        return f"fewer than {least} rows"
    if isinstance(apart, str):
        return apart
    if apart and min(count.rows, reference["rows"]) / apart.effect < LEAST_INDEPENDENT_ROWS:
        independent = f"{apart.effect:.0f} of them count as one independent row (data.dependence)"
        return f"too few rows: {independent}, and {LEAST_INDEPENDENT_ROWS} of these are needed"
    return None


def _with_distributions(
    figures: Mapping[str, DriftFigure], profile: Profile | None, window: WindowCount
) -> dict[str, DriftFigure]:
    """The figures, with both distributions in a few bins for the columns that are drawn."""
    features = {name: figure for name, figure in figures.items() if name != PREDICTION.name}
    drawn = dict(figures)
    for name in [*worth_drawing(features), PREDICTION.name]:
        reference, count = reference_of(profile, name), window.columns.get(name, ColumnCount())
        if reference and count.rows:
            starts = merged_starts(reference) if reference["kind"] == "numeric" else np.array([], dtype=int)
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
    beyond = {name for name, limit in limits.items() if (figure.scores.get(name) or 0.0) > limit}
    matters = (figure.total_variation or 0.0) >= effect
    return "drifted" if "range_psi" in beyond or (beyond and matters) else "steady"


def _overall(statuses: list[DriftStatus]) -> DriftStatus:
    order: tuple[DriftStatus, ...] = ("drifted", "steady", "insufficient")
    return next((status for status in order if status in statuses), "unknown")


def _score(
    name: str, count: ColumnCount, reference: Distribution | None, apart: Deviations | str | None, effect: float
) -> DriftFigure:
    """The shares of missing values and, with rows and a reference, all scores of one column with their errors."""
    figure = DriftFigure(
        missing=count.missing / count.rows if count.rows else None,
        reference_missing=reference["missing"] / reference["rows"] if reference else None,
    )
    if reference is None or not count.rows:
        return figure
    expected, observed = reference_counts(reference), _observed(count)
    by_rows = apart.effect if isinstance(apart, Deviations) else 1.0
    score = partial(_scores, reference, count, effect, by_rows)
    scores: dict[str, float | None] = {name: float(value) for name, value in score(expected, observed).items()}
    errors = sampling_errors(expected, observed, score, seed=zlib.crc32(name.encode()), effect=by_rows)
    if not observed[:-1].any() or not expected[:-1].any():  # no values on one side, so there is no distance
        for distance in {"ks", "wasserstein"} & set(scores):
            scores[distance] = None
            del errors[distance]
    if reference["kind"] == "numeric":
        return replace(figure, scores=scores, errors=errors)
    return replace(figure, scores=scores, errors=errors, new=dict(count.new), vanished=_vanished(reference, count))


def _observed(count: ColumnCount) -> Array:
    return np.array([*count.bins, count.missing], dtype=float)


def _deciding(reference: Distribution, effect: float, expected: Array, observed: Array) -> dict[str, Array]:
    unusual = {"range_psi": _range_psi(_ranges(reference, expected), _ranges(reference, observed), effect)}
    if reference["kind"] == "category":
        return {"psi": divergence.psi(expected, observed), **unusual}
    coarse = merged_starts(reference)
    return {
        "psi": divergence.psi(merge(expected, coarse), merge(observed, coarse)),
        "ks": divergence.kolmogorov_smirnov(expected[..., :-1], observed[..., :-1]),
        **unusual,
    }


def _ranges(reference: Distribution, counts: Array) -> Array:
    """Rows with values in the reference's range or list, outside of it, and without a value; shape [..., 3]."""
    outside = counts[..., -2] + (counts[..., 0] if reference["kind"] == "numeric" and len(reference["edges"]) else 0)
    return np.stack([counts[..., :-1].sum(axis=-1) - outside, outside, counts[..., -1]], axis=-1)


def _range_psi(expected: Array, observed: Array, effect: float) -> Array:
    """PSI of these three; 0 if less than the effect has changed: a single row where none was must not count."""
    changed = divergence.total_variation(expected, observed) >= max(effect, LEAST_RANGE_EFFECT)
    return np.where(changed, divergence.psi(expected, observed), 0.0)


def _scores(
    reference: Distribution, count: ColumnCount, effect: float, by_rows: float, expected: Array, observed: Array
) -> dict[str, Array]:
    """All scores; ``by_rows`` rows count as one independent row."""
    deciding = _deciding(reference, effect, expected, observed)
    if reference["kind"] == "category":
        return {
            **deciding,
            "js": divergence.jensen_shannon(expected, observed),
            "chi_square": divergence.chi_square(expected, observed),
            "total_variation": divergence.total_variation(expected, observed, by_rows),
        }
    coarse = merged_starts(reference)
    before, now = merge(expected, coarse), merge(observed, coarse)
    positions, steps = _positions(reference, count)
    return {
        **deciding,
        "wasserstein": divergence.wasserstein(expected[..., :-1], observed[..., :-1], positions, steps=steps),
        "js": divergence.jensen_shannon(before, now),
        "total_variation": divergence.total_variation(before, now, by_rows),
    }


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
