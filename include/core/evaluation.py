"""Quality of predictions: metrics with bootstrap intervals, overall and by slice.

Used by training (candidate against champion on the same holdout) and by monitoring (each window), so that the
two can be compared. Every figure is ``{"value", "low", "high", "n"}``; where something can't be measured its
value is None and ``reason`` says why. There is never an exception for odd data, and never a made-up number.

Intervals are bootstrap percentile intervals: B. Efron, R. Tibshirani, *An Introduction to the Bootstrap*
(Chapman & Hall, 1993), chapter 13. A resample is represented by how often each row was drawn, so that a metric is
prepared once (sorting, losses) and then costs one pass per resample.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from include.core.errors import DataError
from include.core.spec import ModelSpec

RESAMPLES = 200
LARGEST_SLICES = 50

Array = np.ndarray[Any, Any]
Figure = dict[str, Any]
Measure = Callable[[Array], float]
"""From how often each row counts (whole numbers, shape [n]) to the metric; NaN where it is not defined."""


def evaluate(
    frame: pd.DataFrame,
    spec: ModelSpec,
    *,
    prediction: str = "prediction",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Every metric of the spec on rows that have ``spec.target`` (truth) and ``prediction``.

    Returns ``{"quality": {metric: figure}, "slices": {"origin=EWR": {metric: figure}}}`` with the
    spec's confidence. Rows whose truth is missing are left out and not counted in ``n``. The same frame and
    seed give the same figures. Raises DataError when a needed column is not in the frame.
    """
    _require(frame, [spec.target, prediction, *spec.metrics.slices])
    names = [spec.metrics.primary, *(m for m in spec.metrics.also if m != spec.metrics.primary)]

    def measure(part: pd.DataFrame, label: str) -> dict[str, Figure]:
        return figures(
            part[spec.target],
            part[prediction],
            names,
            confidence=spec.metrics.confidence,
            seed=_seed(seed, label),
            resamples=resamples,
        )

    frame = frame[frame[spec.target].notna()]
    return {
        "quality": measure(frame, ""),
        "slices": {label: measure(part, label) for label, part in _slices(frame, spec)},
    }


def compare(
    frame: pd.DataFrame,
    spec: ModelSpec,
    candidate: str = "prediction",
    champion: str = "champion",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """How much better the candidate is than the champion in the primary metric, on the same rows.

    The difference is positive when the candidate is better, whichever way the metric points. Its interval is a
    paired bootstrap (both are measured on each resample), which is much narrower than the two intervals suggest.

    Returns ``{"metric", "value", "low", "high", "n", "candidate", "champion", "slices": {label: the same}}``,
    where ``candidate`` and ``champion`` are the metric's values; ``reason`` when it can't be measured.
    """
    _require(frame, [spec.target, candidate, champion, *spec.metrics.slices])
    frame = frame[frame[spec.target].notna()]

    def difference(part: pd.DataFrame, label: str) -> dict[str, Any]:
        return _difference(part, spec, candidate, champion, _seed(seed, label), resamples)

    return {
        "metric": spec.metrics.primary,
        **difference(frame, ""),
        "slices": {label: difference(part, label) for label, part in _slices(frame, spec)},
    }


def figures(
    truth: Any,
    prediction: Any,
    metrics: list[str],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Figure]:
    """The named metrics of two aligned columns, each as ``{"value", "low", "high", "n"}``."""
    known, predicted = _aligned(truth, prediction)
    whole = np.ones(len(known))
    found: dict[str, Figure] = {}
    measures: dict[str, Measure] = {}
    for name in metrics:
        prepared = _prepare(name, known, predicted)
        if isinstance(prepared, str):
            found[name] = _unknown(prepared, len(known))
        else:
            measures[name] = prepared
            found[name] = {"value": prepared(whole), "low": None, "high": None, "n": len(known)}
    if measures and len(known) > 1:
        drawn = _bootstrap(list(measures.values()), len(known), resamples, seed)
        for name, values in zip(measures, drawn, strict=True):
            found[name]["low"], found[name]["high"] = _interval(values, confidence)
    return found


def _difference(
    frame: pd.DataFrame, spec: ModelSpec, candidate: str, champion: str, seed: int, resamples: int
) -> dict[str, Any]:
    known, ours = _aligned(frame[spec.target], frame[candidate])
    _, theirs = _aligned(frame[spec.target], frame[champion])
    measures = []
    for predicted in (ours, theirs):
        prepared = _prepare(spec.metrics.primary, known, predicted)
        if isinstance(prepared, str):
            return {**_unknown(prepared, len(known)), "candidate": None, "champion": None}
        measures.append(prepared)
    whole = np.ones(len(known))
    values = [measure(whole) for measure in measures]
    low = high = None
    if len(known) > 1:
        drawn = _bootstrap(measures, len(known), resamples, seed)
        better = drawn[0] - drawn[1] if spec.higher_is_better else drawn[1] - drawn[0]
        low, high = _interval(better, spec.metrics.confidence)
    return {
        "value": spec.worse_by(values[1], values[0]),
        "low": low,
        "high": high,
        "n": len(known),
        "candidate": values[0],
        "champion": values[1],
    }


# Metrics: each takes aligned truth and prediction, and returns a Measure or the reason why there is none.


def _roc_auc(truth: Array, prediction: Array) -> Measure | str:
    """Area under the ROC curve: the share of (true, false) pairs in the right order; ties count half."""
    reason = _not_two_classes(truth)
    if reason:
        return reason
    order, starts = _tied_groups(prediction)
    positive = truth[order]

    def measure(counts: Array) -> float:
        drawn = counts[order]
        hits = np.add.reduceat(drawn * positive, starts)
        misses = np.add.reduceat(drawn, starts) - hits
        pairs = float(hits.sum() * misses.sum())
        return _dot(hits, np.cumsum(misses) - misses / 2) / pairs if pairs else float("nan")

    return measure


def _pr_auc(truth: Array, prediction: Array) -> Measure | str:
    """Average precision: the mean of precision over the thresholds, weighted by the step in recall."""
    reason = _not_two_classes(truth)
    if reason:
        return reason
    order, starts = _tied_groups(-prediction)
    positive = truth[order]

    def measure(counts: Array) -> float:
        drawn = counts[order]
        hits = np.add.reduceat(drawn * positive, starts)
        if not hits.sum():
            return float("nan")
        above = np.cumsum(np.add.reduceat(drawn, starts))
        precision = np.cumsum(hits) / np.maximum(above, 1)
        return _dot(hits, precision) / float(hits.sum())

    return measure


def _log_loss(truth: Array, prediction: Array) -> Measure | str:
    """Mean negative log-likelihood, natural logarithm; probabilities are kept one epsilon from 0 and 1."""
    reason = _not_probabilities(truth, prediction)
    if reason:
        return reason
    epsilon = np.finfo(float).eps
    clipped = np.clip(prediction, epsilon, 1 - epsilon)
    return _mean(-(truth * np.log(clipped) + (1 - truth) * np.log(1 - clipped)))


def _brier(truth: Array, prediction: Array) -> Measure | str:
    """Mean squared error of the probability."""
    return _not_probabilities(truth, prediction) or _mean((truth - prediction) ** 2)


def _mae(truth: Array, prediction: Array) -> Measure | str:
    """Mean absolute error, in units of the target."""
    return _mean(np.abs(truth - prediction))


def _rmse(truth: Array, prediction: Array) -> Measure | str:
    """Root of the mean squared error, in units of the target."""
    mean = _mean((truth - prediction) ** 2)
    return lambda counts: float(np.sqrt(mean(counts)))


def _r2(truth: Array, prediction: Array) -> Measure | str:
    """Coefficient of determination: 1 minus squared error over the variance of truth."""
    if len(truth) < 2 or np.ptp(truth) == 0:
        return "truth has a single value, so there is no variance to explain"
    error, centred = (truth - prediction) ** 2, truth - truth.mean()

    def measure(counts: Array) -> float:
        variance = _dot(counts, centred**2) - _dot(counts, centred) ** 2 / float(counts.sum())
        return 1 - _dot(counts, error) / variance if variance > 0 else float("nan")

    return measure


METRICS: dict[str, Callable[[Array, Array], Measure | str]] = {
    "roc_auc": _roc_auc,
    "pr_auc": _pr_auc,
    "log_loss": _log_loss,
    "brier": _brier,
    "mae": _mae,
    "rmse": _rmse,
    "r2": _r2,
}


def _mean(losses: Array) -> Measure:
    return lambda counts: _dot(counts, losses) / float(counts.sum())


def _dot(left: Array, right: Array) -> float:
    """Inner product without BLAS, whose threads cost more than the product when it is asked for hundreds of times."""
    return float(np.einsum("i,i->", left, right))


def _tied_groups(prediction: Array) -> tuple[Array, Array]:
    order = np.argsort(prediction, kind="stable")
    ranked = prediction[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    return order, starts


def _not_two_classes(truth: Array) -> str | None:
    return "truth has one class only" if truth.min() == truth.max() else None


def _not_probabilities(truth: Array, prediction: Array) -> str | None:
    if prediction.min() < 0 or prediction.max() > 1:
        return "predictions are not probabilities between 0 and 1"
    return None


def _prepare(metric: str, truth: Array, prediction: Array) -> Measure | str:
    if not len(truth):
        return "no rows with truth"
    broken = int((~np.isfinite(truth)).sum())
    if broken:
        return f"truth of {broken} rows is not a finite number"
    broken = int((~np.isfinite(prediction)).sum())
    if broken:
        return f"{broken} predictions are missing or not finite"
    if metric in ("roc_auc", "pr_auc", "log_loss", "brier") and not np.isin(truth, (0.0, 1.0)).all():
        return "truth has values other than 0 and 1"
    return METRICS[metric](truth, prediction)


def _aligned(truth: Any, prediction: Any) -> tuple[Array, Array]:
    """Both as floats, without the rows that have no truth; text that is no number becomes infinity, not a guess."""
    known, predicted = pd.Series(truth).reset_index(drop=True), pd.Series(prediction).reset_index(drop=True)
    has_truth = known.notna()
    known, predicted = known[has_truth], predicted[has_truth]
    numbers = pd.to_numeric(known, errors="coerce").astype(float).fillna(np.inf).to_numpy()
    return numbers, pd.to_numeric(predicted, errors="coerce").astype(float).to_numpy(na_value=np.nan)


def _bootstrap(measures: list[Measure], rows: int, resamples: int, seed: int) -> Array:
    """Values of each measure on ``resamples`` resamples, shape [measures, resamples]; the same draws for all."""
    random = np.random.default_rng(seed)
    drawn = np.empty((len(measures), resamples))
    for column in range(resamples):
        counts = np.bincount(random.integers(0, rows, rows, dtype=np.int32), minlength=rows).astype(float)
        for row, measure in enumerate(measures):
            drawn[row, column] = measure(counts)
    return drawn


def _interval(values: Array, confidence: float) -> tuple[float | None, float | None]:
    """Percentile interval; none when most resamples could not be measured (too few rows of one class)."""
    finite = values[np.isfinite(values)]
    if 2 * len(finite) < len(values) or not len(finite):
        return None, None
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _slices(frame: pd.DataFrame, spec: ModelSpec) -> list[tuple[str, pd.DataFrame]]:
    """Rows by value of each slice column; the largest 50 values where there are more."""
    found: list[tuple[str, pd.DataFrame]] = []
    for column in spec.metrics.slices:
        values = frame[column].astype("object").where(frame[column].notna(), "missing").astype(str)
        largest = values.value_counts().head(LARGEST_SLICES).index
        found.extend((f"{column}={value}", frame[values == value]) for value in sorted(largest))
    return found


def _require(frame: pd.DataFrame, columns: list[str]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(
            f"can't evaluate: the column(s) {', '.join(missing)} are not there (found: "
            f"{', '.join(map(str, frame.columns))}). Add them to the data, or correct target and slices in model.yaml."
        )


def _unknown(reason: str, rows: int) -> Figure:
    return {"value": None, "low": None, "high": None, "n": rows, "reason": reason}


def _seed(seed: int, label: str) -> int:
    """Each slice draws its own resamples, whatever other slices there are."""
    return zlib.crc32(f"{seed} {label}".encode())
