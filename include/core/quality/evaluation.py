"""Quality of predictions: metrics with bootstrap intervals, overall and by slice.

Used by training (candidate against champion on the same holdout) and by monitoring (each window), so that the two can
be compared. Every figure is ``{"value", "low", "high", "n"}``; where something can't be measured its value is None and
``reason`` says why. There is never an exception for odd data, and never a made-up number.

Intervals come from the bootstrap: B. Efron, R. Tibshirani, *An Introduction to the Bootstrap* (Chapman & Hall, 1993).
They are percentile intervals (chapter 13), but for the calibration error. That is a sum of distances, which chance can
only make larger, and in each resample once more; so its interval ends below where the basic interval does (A. C.
Davison, D. V. Hinkley, *Bootstrap Methods and their Application*, 1997, section 5.2) and above where the percentile
interval does less the resamples' bias, and begins at 0 where a calibrated model could have shown such an error by
chance. Those ends were chosen by simulation: ``make bench`` shows how often each interval holds what is true. A
resample is represented by how often each row was drawn, so that a metric is prepared once (sorting, losses) and then
costs one pass per resample; of many classified rows, one pass over cells of them (:mod:`core.quality.condensed`).
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pandas as pd

from include.core.errors import DataError
from include.core.metric_names import CLASSIFICATION_METRICS
from include.core.quality.condensed import LARGEST_ROWS, condense
from include.core.quality.metrics import INTERVALS, THRESHOLD, Array, Interval, Measure, must, prepare
from include.core.spec import ModelSpec

RESAMPLES = 200
LARGEST_SLICES = 50

Figure = dict[str, Any]


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

    def measure(part: pd.DataFrame, label: str) -> dict[str, Figure]:
        return figures(
            part[spec.target],
            part[prediction],
            spec.metrics.names,
            threshold=spec.metrics.threshold,
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
    threshold: float = THRESHOLD,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Figure]:
    """The named metrics of two aligned columns, each as ``{"value", "low", "high", "n"}``.

    ``threshold`` is the probability from which a row counts as predicted true. 0 ``resamples`` give no low and high.
    """
    known, predicted = _aligned(truth, prediction)
    whole = np.ones(len(known))
    found: dict[str, Figure] = {}
    measures: dict[str, Measure] = {}
    for name in metrics:
        prepared = prepare(name, known, predicted, threshold)
        if isinstance(prepared, str):
            found[name] = unknown(prepared, len(known))
        else:
            measures[name] = prepared
            found[name] = {"value": prepared(whole), "low": None, "high": None, "n": len(known)}
    if measures and len(known) > 1 and resamples:
        rows = whole
        if len(known) > LARGEST_ROWS and set(metrics) <= set(CLASSIFICATION_METRICS):
            cells_truth, score, rows = condense(predicted, known, threshold).outcomes()
            measures = {name: must(prepare(name, cells_truth, score, threshold)) for name in measures}
        drawn = _bootstrap(list(measures.values()), rows, resamples, seed)
        for name, values in zip(measures, drawn, strict=True):
            ends = INTERVALS.get(name, "percentile")
            found[name]["low"], found[name]["high"] = interval(values, confidence, ends, found[name]["value"])
        if "calibration_error" in measures:
            figure, random = found["calibration_error"], np.random.default_rng(seed)
            if figure["value"] <= _calibration_error_by_chance(predicted, confidence, resamples, random):
                figure["low"] = 0.0
    return found


def _difference(
    frame: pd.DataFrame, spec: ModelSpec, candidate: str, champion: str, seed: int, resamples: int
) -> dict[str, Any]:
    known, ours = _aligned(frame[spec.target], frame[candidate])
    _, theirs = _aligned(frame[spec.target], frame[champion])
    measures = []
    for predicted in (ours, theirs):
        prepared = prepare(spec.metrics.primary, known, predicted, spec.metrics.threshold)
        if isinstance(prepared, str):
            return {**unknown(prepared, len(known)), "candidate": None, "champion": None}
        measures.append(prepared)
    whole = np.ones(len(known))
    values = [measure(whole) for measure in measures]
    low = high = None
    if len(known) > 1:
        drawn = _bootstrap(measures, whole, resamples, seed)
        better = drawn[0] - drawn[1] if spec.higher_is_better else drawn[1] - drawn[0]
        low, high = interval(better, spec.metrics.confidence)
    return {
        "value": spec.worse_by(values[1], values[0]),
        "low": low,
        "high": high,
        "n": len(known),
        "candidate": values[0],
        "champion": values[1],
    }


def _aligned(truth: Any, prediction: Any) -> tuple[Array, Array]:
    """Both as floats, without the rows that have no truth; text that is no number becomes infinity, not a guess."""
    known, predicted = pd.Series(truth).reset_index(drop=True), pd.Series(prediction).reset_index(drop=True)
    has_truth = known.notna()
    known, predicted = known[has_truth], predicted[has_truth]
    numbers = pd.to_numeric(known, errors="coerce").astype(float).fillna(np.inf).to_numpy()
    return numbers, pd.to_numeric(predicted, errors="coerce").astype(float).to_numpy(na_value=np.nan)


def _bootstrap(measures: list[Measure], rows: Array, resamples: int, seed: int) -> Array:
    """Values of each measure on ``resamples`` resamples, shape [measures, resamples]; the same draws for all.

    ``rows`` is how many rows each entry of the measures' arrays stands for.
    """
    random, whole = np.random.default_rng(seed), int(rows.sum())
    drawn = np.empty((len(measures), resamples))
    for column in range(resamples):
        if whole == len(rows):
            counts = np.bincount(random.integers(0, whole, whole, dtype=np.int32), minlength=whole).astype(float)
        else:
            counts = random.multinomial(whole, rows / whole).astype(float)
        for row, measure in enumerate(measures):
            drawn[row, column] = measure(counts)
    return drawn


def interval(
    values: Array, confidence: float, ends: Interval = "percentile", value: float = 0.0
) -> tuple[float | None, float | None]:
    """Interval from the values of resamples; none when most could not be measured (too few rows of one class).

    ``percentile``: their quantiles, the k-th of B at k / (B + 1). ``less_bias``, for metrics that chance can only make
    larger than ``value``: see this module's page; from 0 up, and never without the value.
    """
    finite = values[np.isfinite(values)]
    if 2 * len(finite) < len(values) or not len(finite):
        return None, None
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2], method="weibull")
    if ends == "less_bias":
        low, high = max(2 * value - high, 0.0), max(high - (finite.mean() - value), value)
    return float(low), float(high)


def _calibration_error_by_chance(score: Array, confidence: float, resamples: int, random: np.random.Generator) -> float:
    """What the calibration error of a model whose probabilities are true would exceed in 1 - confidence of windows.

    Labels are drawn from the probabilities: "consistency resampling" of J. Bröcker, L. A. Smith, "Increasing the
    Reliability of Reliability Diagrams", Weather and Forecasting 22 (2007).
    """
    cells = condense(score, score, THRESHOLD)
    truth, twice, _ = cells.outcomes()
    measure = must(prepare("calibration_error", truth, twice))
    values = [measure(cells.draw(cells.score, random)) for _ in range(resamples)]
    return float(np.quantile(values, confidence, method="weibull"))


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


def unknown(reason: str, rows: int) -> Figure:
    """A figure that could not be measured, and why."""
    return {"value": None, "low": None, "high": None, "n": rows, "reason": reason}


def _seed(seed: int, label: str) -> int:
    """Each slice draws its own resamples, whatever other slices there are."""
    return zlib.crc32(f"{seed} {label}".encode())
