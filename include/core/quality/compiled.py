"""Whether a compiled model may serve instead of the estimator that it was compiled from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from include.core.quality.metrics import prepare
from include.core.spec import ModelSpec

METRIC_TOLERANCE = 1e-6
"""Largest difference of the primary metric, in proportion if large."""


def largest_difference(estimated: np.ndarray, compiled: np.ndarray) -> float:
    """The largest difference of two arrays of predictions: absolute below 1, relative above; infinite if one is NaN."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(compiled - estimated) / np.maximum(1.0, np.abs(estimated))
    return float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0))


def why_not_compiled(spec: ModelSpec, holdout: pd.DataFrame) -> str:
    """Why the compiled model may not serve; empty if it may.

    ``holdout`` has the target, ``prediction`` by the estimator and ``compiled``. Each row must differ by at most
    ``training.compile_tolerance``, and the primary metric by no more than METRIC_TOLERANCE. A metric that can't be
    measured by either proves nothing, so that the estimator serves.
    """
    if holdout.empty:
        return "there is no holdout to compare it on"
    estimated, compiled = (holdout[name].to_numpy(dtype=float) for name in ("prediction", "compiled"))
    tolerance = spec.training.compile_tolerance
    difference = largest_difference(estimated, compiled)
    if not difference <= tolerance:
        return (
            f"it predicts differently: by up to {difference:.3g} on the holdout, more than training.compile_tolerance "
            f"({tolerance:g})"
        )
    known = holdout[spec.target].notna().to_numpy()
    truth = holdout[spec.target].to_numpy(dtype=float)[known]
    values = [_metric(spec, truth, predicted[known]) for predicted in (estimated, compiled)]
    if values[0] is None or values[1] is None:
        return f"{spec.metrics.primary} can't be measured on the holdout, so that the two can't be compared"
    if not largest_difference(np.array([values[0]]), np.array([values[1]])) <= METRIC_TOLERANCE:
        return f"its {spec.metrics.primary} is {values[1]:.8g} instead of {values[0]:.8g} on the holdout"
    return ""


def _metric(spec: ModelSpec, truth: np.ndarray, predicted: np.ndarray) -> float | None:
    measure = prepare(spec.metrics.primary, truth, predicted, spec.metrics.threshold)
    return None if isinstance(measure, str) else measure(np.ones(len(truth)))
