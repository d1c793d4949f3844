"""Estimated quality: a version's expected metrics on predictions whose ground truth has not arrived yet.

Classification: confidence-based performance estimation (CBPE). A calibrated probability is the frequency with which
such a prediction is right, so the expected metric follows from the predictions alone. J. Białek, W. Kuberski, N.
Perrakis, A. Bifet, "Estimating Model Performance Under Covariate Shift Without Labels", arXiv 2401.08348 (2024), and
NannyML's documentation, "Estimation of Performance of the Monitored Model". Regression: direct loss estimation,
:mod:`include.core.quality.losses`.

The version's ``estimator.json`` has what is needed from the holdout, without any of its rows: the calibration map,
which is isotonic regression (pool adjacent violators: R. E. Barlow et al., *Statistical Inference under Order
Restrictions*, 1972; for probabilities: B. Zadrozny, C. Elkan, KDD 2002) over bins of equal mass.

Both are conditional on an unchanged relation between inputs and target. A shift of the inputs is accounted for only as
far as the score follows it, for classification, or the tree's columns do, for regression: calibration by score is not
calibration by input (the paper proposes PAPE, which weights the reference by the shift, for that; this is not PAPE).
The relation of real data varies from window to window, so that the interval of :func:`estimate` (chance in the labels,
and in the calibration) holds far less often than its confidence says: ``make trust`` measures it. What is reported is
:func:`with_measured_errors`: no interval at first, and later one that is made of the errors of earlier estimates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypedDict

import numpy as np
import pandas as pd

from include.core.quality.condensed import condense
from include.core.quality.evaluation import unknown
from include.core.quality.figures import EstimateOutcome, Quality, QualityFigure
from include.core.quality.losses import LossTree, build_loss_tree, estimate_losses, features_of
from include.core.quality.metrics import INTERVALS, Array, prepare
from include.core.quality.resampling import interval
from include.core.spec import ModelSpec

ERRORS_AT_LEAST, ERRORS_AT_MOST = 10, 12
"""How many measured errors an interval is made of."""
DRAWS = 200
MAX_BINS = 200
ROWS_IN_A_BIN = 20


class CalibrationMap(TypedDict):
    """The map from a score to the share of true rows, in blocks of increasing scores."""

    scores: list[float]
    """Mean score of each block."""
    counts: list[float]
    positives: list[float]
    """Number of rows and of true rows in each block."""


class CalibrationEstimator(CalibrationMap):
    """The content of ``estimator.json`` of a classification model."""

    method: Literal["cbpe"]
    rows: int


Estimator = CalibrationEstimator | LossTree


def build_estimator(holdout: pd.DataFrame, spec: ModelSpec) -> Estimator | None:
    """Build the estimator from rows that the version was not trained on; None if none of them has ground truth.

    ``holdout`` has the features, ``spec.target`` and ``prediction``.
    """
    truth = pd.to_numeric(holdout[spec.target], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    known = np.isfinite(truth)
    if not known.any():
        return None
    if spec.task == "regression":
        return build_loss_tree(holdout[known].reset_index(drop=True), spec)
    score = holdout["prediction"].to_numpy(dtype=float)
    calibration = calibration_map(score[known], truth[known])
    return {"method": "cbpe", "rows": int(known.sum()), **calibration}


def estimate(estimator: Estimator, frame: pd.DataFrame, spec: ModelSpec, *, seed: int = 0) -> Quality:
    """Every metric of the spec, estimated for ``frame`` (with ``prediction`` and :func:`features_needed`)."""
    if estimator["method"] == "dle":
        return estimate_losses(estimator, frame, spec)
    score = frame["prediction"].to_numpy(dtype=float)
    return expected(estimator, score, spec.metrics.names, spec.metrics.threshold, spec.metrics.confidence, seed=seed)


def with_measured_errors(estimated: Quality, errors: Mapping[str, Sequence[float]]) -> tuple[Quality, dict[str, int]]:
    """The estimates with intervals made of ``errors``, and how many errors each interval is made of.

    ``errors``: metric → actual minus estimated value of earlier windows, oldest first. Of m errors that are
    exchangeable with the next one, the largest exceeds it with a probability of m / (m + 1): split conformal prediction
    (V. Vovk, A. Gammerman, G. Shafer, *Algorithmic Learning in a Random World*, 2005), with the newest ERRORS_AT_MOST,
    so 0.92. The interval is at least as wide as the estimate's own, for windows with few rows. A metric with fewer than
    ERRORS_AT_LEAST errors has no interval.
    """
    quality, made_of = {}, {}
    for name, figure in estimated.items():
        recent = list(errors.get(name, ()))[-ERRORS_AT_MOST:]
        quality[name] = replace(figure, low=None, high=None)
        if figure.value is None or len(recent) < ERRORS_AT_LEAST:
            continue
        reach = max(abs(error) for error in recent)
        lows, highs = (figure.low, figure.value - reach), (figure.high, figure.value + reach)
        low, high = min(x for x in lows if x is not None), max(x for x in highs if x is not None)
        quality[name], made_of[name] = replace(figure, low=low, high=high), len(recent)
    return quality, made_of


def features_needed(estimator: Estimator | None) -> list[str]:
    """The features that this estimator needs; empty if it only needs predictions."""
    return features_of(estimator) if estimator and estimator["method"] == "dle" else []


def against_truth(estimated: Quality, measured: Quality) -> dict[str, EstimateOutcome]:
    """Compare the estimate with the actual values of the same rows; metrics without both values are omitted."""
    outcomes = {}
    for name, figure in estimated.items():
        actual = measured[name].value if name in measured else None
        if figure.value is None or actual is None:
            continue
        outcomes[name] = EstimateOutcome(
            estimate=figure.value,
            low=figure.low,
            high=figure.high,
            value=actual,
            difference=actual - figure.value,
            inside=None if figure.low is None or figure.high is None else bool(figure.low <= actual <= figure.high),
            n=figure.n,
        )
    return outcomes


def calibration_map(score: Array, truth: Array) -> CalibrationMap:
    """Fit the isotonic map from a score to the share of true rows, in blocks: mean score, rows and true rows."""
    order = np.argsort(score, kind="stable")
    bins = max(1, min(MAX_BINS, len(score) // ROWS_IN_A_BIN))
    starts = np.unique(np.searchsorted(score[order], score[order][np.arange(bins) * len(score) // bins]))
    blocks: list[tuple[float, float, float]] = []  # sum of scores, rows, true rows; equal scores share a bin
    for rows in np.split(order, starts[1:]):
        blocks.append((float(score[rows].sum()), float(len(rows)), float(truth[rows].sum())))
        while len(blocks) > 1 and blocks[-2][2] * blocks[-1][1] >= blocks[-1][2] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = tuple(map(sum, zip(blocks[-1], last, strict=True)))  # type: ignore[assignment]
    return {
        "scores": [total / rows for total, rows, _ in blocks],
        "counts": [rows for _, rows, _ in blocks],
        "positives": [true for _, _, true in blocks],
    }


def calibrated(estimator: CalibrationMap, score: Array) -> Array:
    """The probability of each score: linear between the blocks' mean scores, constant beyond the first and last."""
    shares = np.divide(estimator["positives"], estimator["counts"])
    return np.interp(score, estimator["scores"], shares)


def expected(
    estimator: CalibrationMap, score: Array, metrics: list[str], threshold: float, confidence: float, *, seed: int = 0
) -> Quality:
    """The expected value and interval of each named metric for these scores (0 to 1, shape [n])."""
    rows = len(score)
    if not rows:
        return {name: unknown("no predictions", 0) for name in metrics}
    positives, counts = np.array(estimator["positives"]), np.array(estimator["counts"])
    if not 0 < positives.sum() < counts.sum():
        return {name: unknown("the version's holdout has only one class", rows) for name in metrics}
    cells = condense(score, calibrated(estimator, score), threshold)
    truth, twice, mean = cells.outcomes()
    measures = {name: prepare(name, truth, twice, threshold) for name in metrics}
    usable = {name: measure for name, measure in measures.items() if not isinstance(measure, str)}
    random = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in usable}
    for _ in range(DRAWS if usable else 0):
        shares = random.beta(positives + 0.5, counts - positives + 0.5)
        weights = cells.draw(np.interp(cells.score, estimator["scores"], shares), random)
        for name, measure in usable.items():
            drawn[name].append(measure(weights))
    return {
        name: unknown(measure, rows)
        if isinstance(measure, str)
        else _figure(name, measure(mean), np.array(drawn[name]), confidence, rows)
        for name, measure in measures.items()
    }


def _figure(name: str, value: float, drawn: Array, confidence: float, rows: int) -> QualityFigure:
    if INTERVALS.get(name) == "less_bias":  # the actual value will include chance, so the expected one must too
        value = float(drawn.mean())
    if not np.isfinite(value):
        return unknown("undefined for these predictions", rows)
    low, high = interval(drawn, confidence)
    return QualityFigure(value, low, high, rows)
