"""Quality of predictions: metrics with bootstrap intervals, overall and by slice.

Used by training (candidate and champion on the same holdout) and by monitoring (each window), so that both can be
compared. If a metric can't be measured, its figure has a ``reason`` instead of a value. Odd data never raises an
exception and never yields a made-up number.

Intervals come from the bootstrap: B. Efron, R. Tibshirani, *An Introduction to the Bootstrap* (Chapman & Hall, 1993).
They are percentile intervals (chapter 13), except for the calibration error. It is a sum of distances, which chance can
only increase, and each resample increases it again. So the lower bound of its interval is that of the basic interval
(A. C. Davison, D. V. Hinkley, *Bootstrap Methods and their Application*, 1997, section 5.2), the upper bound is that of
the percentile interval minus the resamples' bias, and the lower bound is 0 if a calibrated model could have such an
error by chance. These bounds were chosen by simulation: ``make bench`` shows the coverage of each interval. A resample
is represented by how often each row was drawn, so that a metric is prepared once (sorting, losses) and then costs one
pass per resample; with many classified rows, one pass over condensed cells (:mod:`core.quality.condensed`).

Rows of one day, or of what else ``data.dependence`` names, are drawn together (:mod:`core.quality.resampling`).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from include.core.errors import DataError
from include.core.metric_names import CLASSIFICATION_METRICS
from include.core.quality.blocks import blocks_of
from include.core.quality.condensed import MAX_UNCONDENSED_ROWS, condense, outcome_losses, outcome_of_rows
from include.core.quality.figures import Comparison, Difference, Evaluation, Quality, QualityFigure
from include.core.quality.metrics import (
    INTERVALS,
    RANGES,
    ROW_LOSSES,
    THRESHOLD,
    Array,
    Measure,
    mean_of,
    must,
    prepare,
    share_of,
)
from include.core.quality.resampling import (
    Bounds,
    Draw,
    bootstrap,
    draw_blocks,
    draw_rows,
    interval,
    standard_error,
    widened,
    wilson,
)
from include.core.spec import ModelSpec

RESAMPLES = 200
MAX_SLICES = 50


def evaluate(
    frame: pd.DataFrame,
    spec: ModelSpec,
    *,
    time: str,
    prediction: str = "prediction",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Every metric of the spec with its interval, on rows with ``spec.target`` (ground truth) and ``prediction``.

    ``time`` is the column of the event timestamp, by which rows of a day are drawn together (``data.dependence``).
    Rows without ground truth are excluded and not counted in ``n``. The same frame and seed give the same figures.
    Raises DataError when a required column is missing.
    """
    _require(frame, [spec.target, prediction, *spec.metrics.slices])

    def measure(part: pd.DataFrame, label: str) -> Quality:
        return figures(
            part[spec.target],
            part[prediction],
            spec.metrics.names,
            threshold=spec.metrics.threshold,
            confidence=spec.metrics.confidence,
            seed=_seed(seed, label),
            resamples=resamples,
            blocks=blocks_of(part, spec, time),
        )

    frame = frame[frame[spec.target].notna()]
    return Evaluation(measure(frame, ""), {label: measure(part, label) for label, part in _slices(frame, spec)})


def compare(
    frame: pd.DataFrame,
    spec: ModelSpec,
    *,
    time: str,
    candidate: str = "prediction",
    champion: str = "champion",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """How much better the candidate is than the champion in the primary metric, on the same rows.

    The difference is positive if the candidate is better, whatever the metric's direction. Its interval comes from a
    paired bootstrap (both are measured on each resample) and is much narrower than the two intervals suggest.
    ``time`` as in :func:`evaluate`.
    """
    _require(frame, [spec.target, candidate, champion, *spec.metrics.slices])
    frame = frame[frame[spec.target].notna()]

    def difference(part: pd.DataFrame, label: str) -> Difference:
        blocks = blocks_of(part, spec, time)
        return _difference(part, spec, candidate, champion, blocks, _seed(seed, label), resamples)

    slices = {label: difference(part, label) for label, part in _slices(frame, spec)}
    return Comparison(spec.metrics.primary, difference(frame, ""), slices)


def figures(
    truth: Any,
    prediction: Any,
    metrics: list[str],
    *,
    threshold: float = THRESHOLD,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
    blocks: Array | None = None,
) -> Quality:
    """The named metrics of two aligned columns.

    ``threshold`` is the probability from which a row counts as predicted true. With 0 ``resamples``, figures have no
    interval. ``blocks`` is the block of each row (:func:`include.core.quality.blocks.blocks_of`), None if rows are
    independent; rows of a single block have no interval.
    """
    known, predicted, has_truth = _aligned(truth, prediction)
    of_known = _numbered(blocks, has_truth)
    prepared = {name: prepare(name, known, predicted, threshold) for name in metrics}
    measures = {name: measure for name, measure in prepared.items() if not isinstance(measure, str)}
    whole = np.ones(len(known))
    values = {name: measure(whole) for name, measure in measures.items()}
    ends: dict[str, Bounds] = {}
    if len(known) > 1 and resamples:
        resampling = Resampling(known, predicted, threshold, confidence, resamples, seed, of_known)
        ends = _intervals(measures, values, resampling)
    positives = int((known > 0).sum())
    count = None if of_known is None else int(of_known.max()) + 1
    return {
        name: QualityFigure(
            values.get(name),
            *ends.get(name, (None, None)),
            len(known),
            reason=measure if isinstance(measure, str) else None,
            fewest=min(positives, len(known) - positives) if name in CLASSIFICATION_METRICS else None,
            error=standard_error(values[name], ends[name], count, confidence) if name in ends else None,
            blocks=count,
        )
        for name, measure in prepared.items()
    }


@dataclass(frozen=True)
class Resampling:
    """The input of intervals: aligned truth and prediction, shape [n], and the parameters of the bootstrap."""

    truth: Array
    prediction: Array
    threshold: float
    confidence: float
    resamples: int
    seed: int
    blocks: Array | None
    """The number (0, 1, ...) of each row's block; None if rows are independent."""

    def bounds(self, drawn: Array, name: str, value: float) -> Bounds:
        """The interval of a metric from its values on the resamples."""
        ends = interval(drawn, self.confidence, INTERVALS.get(name, "percentile"), value)
        if self.blocks is not None:
            low, high = widened(ends, value, int(self.blocks.max()) + 1, self.confidence)
            limits = RANGES.get(name, (None, None))
            ends = _clipped(low, limits), _clipped(high, limits)
        rows = share_of(name, self.truth, self.prediction >= self.threshold)
        return ends if rows is None else wilson(value, rows, self.confidence, ends, independent=self.blocks is None)


def _intervals(
    measures: Mapping[str, Measure], values: Mapping[str, float], resampling: Resampling
) -> dict[str, Bounds]:
    """The interval of each metric; with many classified rows, from condensed cells."""
    if not measures:
        return {}
    if len(resampling.truth) > MAX_UNCONDENSED_ROWS and set(measures) <= set(CLASSIFICATION_METRICS):
        measures, draw = _condensed(list(measures), resampling)
    elif resampling.blocks is None:
        draw = draw_rows(np.ones(len(resampling.truth)))
    else:
        draw = draw_blocks(resampling.blocks)
    drawn = bootstrap(list(measures.values()), draw, resampling.resamples, resampling.seed)
    ends = {
        name: resampling.bounds(resampled, name, values[name]) for name, resampled in zip(measures, drawn, strict=True)
    }
    if ends.get("calibration_error", (None, None))[0] is not None:
        random = np.random.default_rng(resampling.seed)
        by_chance = _calibration_error_by_chance(
            resampling.prediction, resampling.confidence, resampling.resamples, random
        )
        if values["calibration_error"] <= by_chance:
            ends["calibration_error"] = (0.0, ends["calibration_error"][1])
    return ends


def _condensed(metrics: list[str], resampling: Resampling) -> tuple[dict[str, Measure], Draw]:
    """The measures of the cells' outcomes instead of the rows, and how these are drawn."""
    truth, score, threshold = resampling.truth, resampling.prediction, resampling.threshold
    outcome, cell_score, rows = condense(score, truth, threshold).outcomes()
    measures = {}
    for name in metrics:
        if name in ROW_LOSSES:
            losses = ROW_LOSSES[name](truth, score)
            measures[name] = mean_of(outcome_losses(losses, score, truth, threshold))
        else:
            measures[name] = must(prepare(name, outcome, cell_score, threshold))
    if resampling.blocks is None:
        return measures, draw_rows(rows)
    return measures, draw_blocks(resampling.blocks, outcome_of_rows(score, truth, threshold), len(rows))


def _difference(
    frame: pd.DataFrame,
    spec: ModelSpec,
    candidate: str,
    champion: str,
    blocks: Array | None,
    seed: int,
    resamples: int,
) -> Difference:
    known, candidate_scores, has_truth = _aligned(frame[spec.target], frame[candidate])
    _, champion_scores, _ = _aligned(frame[spec.target], frame[champion])
    blocks = _numbered(blocks, has_truth)
    measures = []
    for predicted in (candidate_scores, champion_scores):
        prepared = prepare(spec.metrics.primary, known, predicted, spec.metrics.threshold)
        if isinstance(prepared, str):
            return Difference(None, None, None, len(known), reason=prepared)
        measures.append(prepared)
    whole = np.ones(len(known))
    values = [measure(whole) for measure in measures]
    difference, confidence = spec.worse_by(values[1], values[0]), spec.metrics.confidence
    count = len(known) if blocks is None else int(blocks.max()) + 1
    low = high = reason = None
    if count > 1:
        draw = draw_rows(whole) if blocks is None else draw_blocks(blocks)
        drawn = bootstrap(measures, draw, resamples, seed)
        low, high = interval(drawn[0] - drawn[1] if spec.higher_is_better else drawn[1] - drawn[0], confidence)
    if blocks is not None:
        low, high = widened((low, high), difference, count, confidence)
        if count == 1:
            reason = f"all rows are of one {spec.data.dependence} (data.dependence), so chance can't be told apart"
    return Difference(difference, low, high, len(known), values[0], values[1], reason)


def _aligned(truth: Any, prediction: Any) -> tuple[Array, Array, Array]:
    """Both as floats, without rows that lack truth, and which rows have it; text becomes infinity."""
    known, predicted = pd.Series(truth).reset_index(drop=True), pd.Series(prediction).reset_index(drop=True)
    has_truth = known.notna()
    known, predicted = known[has_truth], predicted[has_truth]
    numbers = pd.to_numeric(known, errors="coerce").astype(float).fillna(np.inf).to_numpy()
    scores = pd.to_numeric(predicted, errors="coerce").astype(float).to_numpy(na_value=np.nan)
    return numbers, scores, has_truth.to_numpy()


def _numbered(blocks: Array | None, kept: Array) -> Array | None:
    """The blocks of the rows that are kept, numbered from 0 without gaps."""
    if blocks is None or not kept.any():
        return None
    numbers: Array = np.unique(blocks[kept], return_inverse=True)[1]
    return numbers


def _clipped(bound: float | None, limits: tuple[float | None, float | None]) -> float | None:
    low, high = limits
    if bound is not None and low is not None:
        bound = max(bound, low)
    return min(bound, high) if bound is not None and high is not None else bound


def _calibration_error_by_chance(score: Array, confidence: float, resamples: int, random: np.random.Generator) -> float:
    """The calibration error that a perfectly calibrated model would exceed in a share of 1 - confidence of windows.

    Labels are drawn from the probabilities: "consistency resampling" of J. Bröcker, L. A. Smith, "Increasing the
    Reliability of Reliability Diagrams", Weather and Forecasting 22 (2007).
    """
    cells = condense(score, score, THRESHOLD)
    truth, twice, _ = cells.outcomes()
    measure = must(prepare("calibration_error", truth, twice))
    values = [measure(cells.draw(cells.score, random)) for _ in range(resamples)]
    return float(np.quantile(values, confidence, method="weibull"))


def _slices(frame: pd.DataFrame, spec: ModelSpec) -> list[tuple[str, pd.DataFrame]]:
    """Rows by value of each slice column, at most the 50 most frequent values."""
    slices: list[tuple[str, pd.DataFrame]] = []
    for column in spec.metrics.slices:
        values = frame[column].astype("object").where(frame[column].notna(), "missing").astype(str)
        largest = values.value_counts().head(MAX_SLICES).index
        slices.extend((f"{column}={value}", frame[values == value]) for value in sorted(largest))
    return slices


def _require(frame: pd.DataFrame, columns: list[str]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(
            f"can't evaluate: columns missing: {', '.join(missing)} (present: "
            f"{', '.join(map(str, frame.columns))}). Add them to the data, or correct target and slices in model.yaml."
        )


def unknown(reason: str, rows: int) -> QualityFigure:
    """A figure that could not be measured, with the reason."""
    return QualityFigure(None, n=rows, reason=reason)


def _seed(seed: int, label: str) -> int:
    """A seed per slice, so that its resamples don't depend on the other slices."""
    return zlib.crc32(f"{seed} {label}".encode())
