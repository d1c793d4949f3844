"""Drift: how far a window's features and predictions are from the reference of the version that answered.

A column has drifted when a deciding score (PSI; for numbers also the Kolmogorov-Smirnov distance) is above the limit
that chance sets (:mod:`include.core.drift.limits`) *and* at least ``monitoring.drift_effect_at_least`` of its rows have
moved: in a large window the smallest change is certain, and still does not matter. What columns don't show one by one
is the multivariate test's (:mod:`core.drift.multivariate`); where it judges, both share the rate of false alarms.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np

from include.core.drift import divergence, multivariate
from include.core.drift.counts import ColumnCount, WindowCount, counted_columns, reference_of
from include.core.drift.limits import Array, Judged, limits, sampling_errors
from include.core.drift.profile import Distribution
from include.core.drift.side_by_side import side_by_side, worth_drawing
from include.core.spec import PREDICTION, ModelSpec

Status = Literal["steady", "drifted", "insufficient", "unknown"]

PSI_BINS = 10
"""Quantiles of a numeric column are joined to about ten bins for PSI: more of them mostly add noise."""

Figure = dict[str, Any]


def drift(
    profile: Mapping[str, Any] | None,
    window: WindowCount,
    spec: ModelSpec,
    together: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Every feature and the prediction of a counted window against the profile that it was counted with.

    Returns ``{"features": {name: figure}, "prediction": figure, "multivariate", "drifted": names, "status",
    "false_alarm_rate", "effect_at_least"}``. ``together`` is what :func:`core.drift.multivariate.compare` found: it
    is part of ``status``, but names no column as drifted. A figure has ``psi``, ``js``, ``moved`` and, for numbers,
    ``ks`` and ``wasserstein``, for categories ``chi_square``, ``new`` ({value: rows}) and ``vanished``; ``errors`` and
    ``limits`` by score; ``missing`` and ``reference_missing`` (shares); for the worst features and the prediction
    ``distribution`` (:func:`core.drift.side_by_side.side_by_side`); and a ``status``: ``unknown`` without rows or
    reference, ``insufficient`` with fewer than ``monitoring.rows_at_least`` rows on either side, which never is drift.
    """
    rules = spec.monitoring
    together = together or multivariate.unknown("rows were not compared")
    both = together["status"] in ("steady", "drifted")
    rate = rules.drift_false_alarm_rate * (1 - multivariate.SHARE_OF_RATE if both else 1)
    judged: dict[str, Judged] = {}
    figures: dict[str, Figure] = {}
    for feature in counted_columns(spec):
        reference = reference_of(profile, feature.name)
        count = window.columns.get(feature.name, ColumnCount())
        figures[feature.name] = {**_nothing(count, reference), **_scores(feature.name, count, reference)}
        if reference and min(count.rows, reference["rows"]) >= rules.rows_at_least:
            judged[feature.name] = Judged(_bins(reference), _found(count), partial(_deciding, reference))
    allowed = limits(judged, rate)
    for name, figure in figures.items():
        figure["limits"] = allowed.get(name, {})
        figure["status"] = _status(figure, rules.drift_effect_at_least)
    _add_distributions(figures, profile, window)
    drifted = [name for name, figure in figures.items() if figure["status"] == "drifted"]
    return {
        "features": {name: figure for name, figure in figures.items() if name != PREDICTION.name},
        "prediction": figures[PREDICTION.name],
        "multivariate": dict(together),
        "drifted": drifted,
        "status": _overall([together["status"], *(figure["status"] for figure in figures.values())]),
        "false_alarm_rate": rules.drift_false_alarm_rate,
        "effect_at_least": rules.drift_effect_at_least,
    }


def _add_distributions(figures: dict[str, Figure], profile: Mapping[str, Any] | None, window: WindowCount) -> None:
    features = {name: figure for name, figure in figures.items() if name != PREDICTION.name}
    for name in [*worth_drawing(features), PREDICTION.name]:
        reference, count = reference_of(profile, name), window.columns.get(name, ColumnCount())
        if reference and count.rows:
            starts = _joined(reference) if reference["kind"] == "numeric" else np.array([], dtype=int)
            figures[name]["distribution"] = side_by_side(reference, count, starts)


def _nothing(count: ColumnCount, reference: Distribution | None) -> Figure:
    return {
        "psi": None,
        "missing": count.missing / count.rows if count.rows else None,
        "reference_missing": reference["missing"] / reference["rows"] if reference else None,
        "errors": {},
    }


def _status(figure: Figure, effect: float) -> Status:
    if figure["psi"] is None:
        return "unknown"
    if not figure["limits"]:
        return "insufficient"
    beyond = any(figure[score] > limit for score, limit in figure["limits"].items() if figure.get(score) is not None)
    return "drifted" if beyond and figure["moved"] >= effect else "steady"


def _overall(statuses: list[Status]) -> Status:
    order: tuple[Status, ...] = ("drifted", "steady", "insufficient")
    return next((status for status in order if status in statuses), "unknown")


def _scores(name: str, count: ColumnCount, reference: Distribution | None) -> Figure:
    """All scores of one column with their errors; nothing without rows or reference."""
    if reference is None or not count.rows:
        return {}
    expected, found = _bins(reference), _found(count)
    both = partial(_numeric if reference["kind"] == "numeric" else _category, reference, count)
    figure: Figure = {score: float(value) for score, value in both(expected, found).items()}
    figure["errors"] = sampling_errors(expected, found, both, seed=zlib.crc32(name.encode()))
    if not found[:-1].any() or not expected[:-1].any():  # nothing is present on one side: there is no distance
        for score in {"ks", "wasserstein"} & set(figure):
            figure[score] = None
            del figure["errors"][score]
    if reference["kind"] == "category":
        figure["new"] = dict(count.new)
        figure["vanished"] = _vanished(reference, count)
    return figure


def _bins(reference: Distribution) -> Array:
    """Counts of the reference by bin; missing values last."""
    counts = reference["counts"]
    present = [*counts.values(), reference["other"]] if reference["kind"] == "category" else counts
    return np.array([*present, reference["missing"]], dtype=float)


def _found(count: ColumnCount) -> Array:
    return np.array([*count.bins, count.missing], dtype=float)


def _deciding(reference: Distribution, expected: Array, found: Array) -> dict[str, Array]:
    if reference["kind"] == "category":
        return {"psi": divergence.psi(expected, found)}
    coarse = _joined(reference)
    return {
        "psi": divergence.psi(_join(expected, coarse), _join(found, coarse)),
        "ks": divergence.kolmogorov_smirnov(expected[..., :-1], found[..., :-1]),
    }


def _category(reference: Distribution, _: ColumnCount, expected: Array, found: Array) -> dict[str, Array]:
    return {
        **_deciding(reference, expected, found),
        "js": divergence.jensen_shannon(expected, found),
        "chi_square": divergence.chi_square(expected, found),
        "moved": divergence.moved(expected, found),
    }


def _numeric(reference: Distribution, count: ColumnCount, expected: Array, found: Array) -> dict[str, Array]:
    coarse = _joined(reference)
    before, now = _join(expected, coarse), _join(found, coarse)
    positions, steps = _positions(reference, count)
    return {
        **_deciding(reference, expected, found),
        "wasserstein": divergence.wasserstein(expected[..., :-1], found[..., :-1], positions, steps=steps),
        "js": divergence.jensen_shannon(before, now),
        "moved": divergence.moved(before, now),
    }


def _joined(reference: Distribution) -> Array:
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


def _positions(reference: Distribution, count: ColumnCount) -> tuple[Array, bool]:
    """Where the mass of each bin is, for the Wasserstein distance; see there."""
    edges = np.asarray(reference["edges"], dtype=float)
    if not len(edges):
        return np.zeros(2), False
    low = edges[0] if count.low is None else min(edges[0], count.low)
    high = edges[-1] if count.high is None else max(edges[-1], count.high)
    if "values" in reference:
        return np.array([low, *reference["values"], high]), True
    return np.array([low, *edges, high]), False


def _vanished(reference: Distribution, count: ColumnCount) -> list[str]:
    """Categories of which there is none left, though by the reference at least ten rows were to be expected.

    With ten expected rows, none at all happens to one category in 20,000 (exp(-10)).
    """
    share = count.rows / reference["rows"]
    listed = zip(reference["counts"].items(), count.bins, strict=False)
    return [value for (value, before), now in listed if not now and before * share >= 10]
