"""Metrics of predictions, each prepared once and then measured for any row weights.

A metric takes aligned truth and prediction (floats, shape [n]) and returns a :data:`Measure`, a function of the row
weights, or the reason why there is none. So the same code measures a window (all weights 1), a bootstrap resample (how
often each row was drawn), and an expected value if only the probability of the truth is known: then each row is used
twice, as true with weight p and as false with weight 1 - p (:mod:`include.core.quality.estimation`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from include.core.metric_names import CLASSIFICATION_METRICS

Array = np.ndarray[Any, Any]
Measure = Callable[[Array], float]
"""A function from row weights (non-negative, shape [n]) to the metric; NaN if undefined."""

Interval = Literal["percentile", "less_bias"]

CALIBRATION_BINS = 10
THRESHOLD = 0.5

INTERVALS: dict[str, Interval] = {"calibration_error": "less_bias"}
"""How a metric's bootstrap interval is computed; default ``percentile``. See ``evaluation``."""
_SHARE, _LOSS = (0.0, 1.0), (0.0, None)
RANGES: dict[str, tuple[float | None, float | None]] = {
    **dict.fromkeys(
        ("roc_auc", "pr_auc", "brier", "calibration_error", "accuracy", "precision", "recall", "f1"), _SHARE
    ),
    **dict.fromkeys(("log_loss", "mae", "rmse", "median_absolute_error", "p90_absolute_error"), _LOSS),
    "r2": (None, 1.0),
}
"""Smallest and largest value that a metric can have; None: unbounded."""


def prepare(metric: str, truth: Array, prediction: Array, threshold: float = THRESHOLD) -> Measure | str:
    """The measure of one metric on these rows, or why it can't be measured.

    ``threshold`` is the probability from which a row is predicted true, for accuracy, precision, recall and f1.
    """
    if not len(truth):
        return "no rows with ground truth"
    invalid = int((~np.isfinite(truth)).sum())
    if invalid:
        return f"ground truth of {invalid} rows is not a finite number"
    invalid = int((~np.isfinite(prediction)).sum())
    if invalid:
        return f"{invalid} predictions are missing or not finite"
    if metric in CLASSIFICATION_METRICS and not np.isin(truth, (0.0, 1.0)).all():
        return "ground truth has values other than 0 and 1"
    if metric in _AT_THRESHOLD:
        return _AT_THRESHOLD[metric](truth, prediction >= threshold)
    return _METRICS[metric](truth, prediction)


def must(prepared: Measure | str) -> Measure:
    """The measure, if it is certain that there is one."""
    assert not isinstance(prepared, str), prepared
    return prepared


def share_of(metric: str, truth: Array, said: Array) -> int | None:
    """Of how many rows the metric is a share; None if it is none. ``said``: whether each row is predicted true."""
    match metric:
        case "accuracy":
            return len(truth)
        case "precision":
            return int(said.sum())
        case "recall":
            return int((truth > 0).sum())
    return None


def _roc_auc(truth: Array, prediction: Array) -> Measure | str:
    """Area under the ROC curve: the share of correctly ordered (true, false) pairs; ties count half."""
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
        precision = np.divide(np.cumsum(hits), above, out=np.zeros(len(hits)), where=above > 0)
        return _dot(hits, precision) / float(hits.sum())

    return measure


def _log_loss(truth: Array, prediction: Array) -> Measure | str:
    """Mean negative log-likelihood (natural logarithm); probabilities are clipped one epsilon from 0 and 1."""
    return _not_probabilities(prediction) or mean_of(_log_losses(truth, prediction))


def _log_losses(truth: Array, prediction: Array) -> Array:
    epsilon = np.finfo(float).eps
    clipped = np.clip(prediction, epsilon, 1 - epsilon)
    losses: Array = -(truth * np.log(clipped) + (1 - truth) * np.log(1 - clipped))
    return losses


def _brier(truth: Array, prediction: Array) -> Measure | str:
    """Mean squared error of the probability."""
    return _not_probabilities(prediction) or mean_of(_squared(truth, prediction))


def _squared(truth: Array, prediction: Array) -> Array:
    squared: Array = (truth - prediction) ** 2
    return squared


ROW_LOSSES: dict[str, Callable[[Array, Array], Array]] = {"log_loss": _log_losses, "brier": _squared}
"""Metrics of probabilities that are the mean of each row's loss: a function from truth and prediction to the losses."""


def _calibration_error(truth: Array, prediction: Array) -> Measure | str:
    """Expected calibration error: distance of mean probability and share of true rows, over ten equal-width bins.

    The mean distance of the bins, weighted by rows; a probability on an edge belongs to the upper bin (1 to the
    last). M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning",
    AAAI 2015; C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017,
    equation 3.
    """
    reason = _not_probabilities(prediction)
    if reason:
        return reason
    bins = np.minimum((prediction * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gap = prediction - truth

    def measure(counts: Array) -> float:
        return float(np.abs(np.bincount(bins, weights=counts * gap)).sum() / counts.sum())

    return measure


def _accuracy(truth: Array, said: Array) -> Measure | str:
    """Share of rows on the right side of the threshold."""
    return mean_of((truth == said).astype(float))


def _precision(truth: Array, said: Array) -> Measure | str:
    """Share of true rows among those predicted true."""
    if not said.any():
        return "no prediction reaches the threshold, so precision is undefined"
    return _ratio(truth * said, said.astype(float))


def _recall(truth: Array, said: Array) -> Measure | str:
    """Share of rows predicted true among the true ones."""
    if not truth.any():
        return "no row is true, so recall is undefined"
    return _ratio(truth * said, truth)


def _f1(truth: Array, said: Array) -> Measure | str:
    """Harmonic mean of precision and recall: twice the hits over rows that are true plus rows predicted true."""
    if not truth.any() and not said.any():
        return "no row is true or predicted true, so f1 is undefined"
    return _ratio(2 * truth * said, truth + said)


def _mae(truth: Array, prediction: Array) -> Measure | str:
    """Mean absolute error, in units of the target."""
    return mean_of(np.abs(truth - prediction))


def _rmse(truth: Array, prediction: Array) -> Measure | str:
    """Root of the mean squared error, in units of the target."""
    mean = mean_of((truth - prediction) ** 2)
    return lambda counts: float(np.sqrt(mean(counts)))


def _r2(truth: Array, prediction: Array) -> Measure | str:
    """Coefficient of determination: 1 minus squared error divided by the variance of the truth."""
    if len(truth) < 2 or np.ptp(truth) == 0:
        return "ground truth has a single value, so there is no variance to explain"
    error, centred = (truth - prediction) ** 2, truth - truth.mean()

    def measure(counts: Array) -> float:
        variance = _dot(counts, centred**2) - _dot(counts, centred) ** 2 / float(counts.sum())
        return 1 - _dot(counts, error) / variance if variance > 0 else float("nan")

    return measure


def _bias(truth: Array, prediction: Array) -> Measure | str:
    """Mean of prediction minus truth, in units of the target: positive if the model overestimates."""
    return mean_of(prediction - truth)


def _absolute_error_at(share: float) -> Callable[[Array, Array], Measure | str]:
    """The error that this share of the rows does not exceed, in units of the target.

    Interpolated between two rows: definition 7 of R. J. Hyndman, Y. Fan, "Sample Quantiles in Statistical Packages",
    The American Statistician 50 (1996), as in numpy and scikit-learn.
    """

    def absolute_error(truth: Array, prediction: Array) -> Measure | str:
        errors = np.abs(truth - prediction)
        order = np.argsort(errors, kind="stable")
        ranked = errors[order]

        def measure(counts: Array) -> float:
            upto = np.cumsum(counts[order])
            place = (upto[-1] - 1) * share
            below, above = ranked[np.searchsorted(upto, [np.floor(place), np.ceil(place)], side="right")]
            return float(below + (above - below) * (place % 1))

        return measure

    return absolute_error


_METRICS: dict[str, Callable[[Array, Array], Measure | str]] = {
    "roc_auc": _roc_auc,
    "pr_auc": _pr_auc,
    "log_loss": _log_loss,
    "brier": _brier,
    "calibration_error": _calibration_error,
    "mae": _mae,
    "rmse": _rmse,
    "r2": _r2,
    "bias": _bias,
    "median_absolute_error": _absolute_error_at(0.5),
    "p90_absolute_error": _absolute_error_at(0.9),
}
_AT_THRESHOLD: dict[str, Callable[[Array, Array], Measure | str]] = {
    "accuracy": _accuracy,
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
}
"""Metrics whose second argument says whether each row is predicted true."""


def mean_of(losses: Array) -> Measure:
    """The measure of a metric that is the mean of each row's loss, shape [n]."""
    return lambda counts: _dot(counts, losses) / float(counts.sum())


def _ratio(above: Array, below: Array) -> Measure:
    def measure(counts: Array) -> float:
        whole = _dot(counts, below)
        return _dot(counts, above) / whole if whole else float("nan")

    return measure


def _dot(left: Array, right: Array) -> float:
    """Inner product without BLAS, whose threads cost more than the product when it is called hundreds of times."""
    return float(np.einsum("i,i->", left, right))


def _tied_groups(prediction: Array) -> tuple[Array, Array]:
    order = np.argsort(prediction, kind="stable")
    ranked = prediction[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    return order, starts


def _not_two_classes(truth: Array) -> str | None:
    return "ground truth has only one class" if truth.min() == truth.max() else None


def _not_probabilities(prediction: Array) -> str | None:
    if prediction.min() < 0 or prediction.max() > 1:
        return "predictions are not probabilities between 0 and 1"
    return None
