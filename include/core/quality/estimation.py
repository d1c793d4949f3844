"""Quality before truth: what a version's metrics are to be expected on predictions whose truth has not come.

Classification: confidence-based performance estimation (CBPE). A calibrated probability says how often such a
prediction is right, so the expected metric follows from the predictions alone. J. Białek, W. Kuberski, N. Perrakis, A.
Bifet, "Estimating Model Performance Under Covariate Shift Without Labels", arXiv 2401.08348 (2024), and NannyML's
documentation, "Estimation of Performance of the Monitored Model". Regression: direct loss estimation,
:mod:`include.core.quality.losses`.

What is needed of the holdout is kept with the version as ``estimator.json``, without any row of it: the calibration
map, which is isotonic regression (pool adjacent violators: R. E. Barlow et al., *Statistical Inference under Order
Restrictions*, 1972; for probabilities: B. Zadrozny, C. Elkan, KDD 2002) over bins of equal mass.

The interval says where the figure should fall once truth is there, with the spec's confidence: labels are drawn from
the calibrated probabilities, which themselves are drawn from what the holdout leaves open (Beta with Jeffreys' prior,
by block). It knows of chance, and of inputs that have shifted. It does not know of a changed relation between inputs
and target: that shows when truth comes, as an estimate that was wrong.
"""

from __future__ import annotations

from typing import Literal, TypedDict

import numpy as np
import pandas as pd

from include.core.quality.condensed import condense
from include.core.quality.evaluation import interval, unknown
from include.core.quality.figures import EstimateOutcome, Quality, QualityFigure
from include.core.quality.losses import LossTree, build_loss_tree, estimate_losses, features_asked_for
from include.core.quality.metrics import INTERVALS, Array, prepare
from include.core.spec import ModelSpec

DRAWS = 200
LARGEST_BINS = 200
ROWS_IN_A_BIN = 20


class CalibrationMap(TypedDict):
    """From a score to the share of true rows, in blocks of rising scores."""

    scores: list[float]
    """Mean score of each block."""
    counts: list[float]
    positives: list[float]
    """Rows and true rows of each."""


class CalibrationEstimator(CalibrationMap):
    """The content of ``estimator.json`` of a classification model."""

    method: Literal["cbpe"]
    rows: int


Estimator = CalibrationEstimator | LossTree


def build_estimator(holdout: pd.DataFrame, spec: ModelSpec) -> Estimator | None:
    """What estimates need of rows that the version was not trained on; JSON values only, None when none has truth.

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
    """Every metric of the spec as estimated for ``frame`` (``prediction`` and :func:`features_needed`)."""
    if estimator["method"] == "dle":
        return estimate_losses(estimator, frame, spec)
    score = frame["prediction"].to_numpy(dtype=float)
    return expected(estimator, score, spec.metrics.names, spec.metrics.threshold, spec.metrics.confidence, seed=seed)


def features_needed(estimator: Estimator | None) -> list[str]:
    """The features without which this estimator can't estimate: none where predictions alone do."""
    return features_asked_for(estimator) if estimator and estimator["method"] == "dle" else []


def against_truth(estimated: Quality, measured: Quality) -> dict[str, EstimateOutcome]:
    """How good the estimate was, of the same rows. Metrics without both values are left out."""
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
    """Blocks of the isotonic map from a score to the share of true rows: mean score, rows and true rows of each."""
    order = np.argsort(score, kind="stable")
    bins = max(1, min(LARGEST_BINS, len(score) // ROWS_IN_A_BIN))
    starts = np.unique(np.searchsorted(score[order], score[order][np.arange(bins) * len(score) // bins]))
    blocks: list[tuple[float, float, float]] = []  # sum of scores, rows, true rows; equal scores share a bin
    for part in np.split(order, starts[1:]):
        blocks.append((float(score[part].sum()), float(len(part)), float(truth[part].sum())))
        while len(blocks) > 1 and blocks[-2][2] * blocks[-1][1] >= blocks[-1][2] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = tuple(map(sum, zip(blocks[-1], last, strict=True)))  # type: ignore[assignment]
    return {
        "scores": [total / rows for total, rows, _ in blocks],
        "counts": [rows for _, rows, _ in blocks],
        "positives": [true for _, _, true in blocks],
    }


def calibrated(estimator: CalibrationMap, score: Array) -> Array:
    """The probability of each score: linear between the blocks' mean scores, level beyond the first and the last."""
    shares = np.divide(estimator["positives"], estimator["counts"])
    return np.interp(score, estimator["scores"], shares)


def expected(
    estimator: CalibrationMap, score: Array, metrics: list[str], threshold: float, confidence: float, *, seed: int = 0
) -> Quality:
    """The named metrics to be expected of these scores (0 to 1, shape [n]), as :func:`estimate` gives them."""
    rows = len(score)
    if not rows:
        return {name: unknown("no predictions", 0) for name in metrics}
    positives, counts = np.array(estimator["positives"]), np.array(estimator["counts"])
    if not 0 < positives.sum() < counts.sum():
        return {name: unknown("the holdout of the version has one class only", rows) for name in metrics}
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
    if INTERVALS.get(name) == "less_bias":  # chance will be part of what comes true, so it is part of what is expected
        value = float(drawn.mean())
    if not np.isfinite(value):
        return unknown("it is not defined for these predictions", rows)
    low, high = interval(drawn, confidence)
    return QualityFigure(value, low, high, rows)
