"""Predictions: what they are made from, and what they must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .jobs import ModelError

Columns = Mapping[str, Sequence[Any] | np.ndarray]
"""Feature → its values; None (and NaN in numbers) means missing."""


def require_finite(predicted: np.ndarray) -> np.ndarray:
    """The predictions; ModelError when any is NaN or infinite."""
    bad = int((~np.isfinite(predicted)).sum())
    if bad:
        raise ModelError(
            f"{bad} of {len(predicted)} predictions are not finite. Let the estimator handle missing values."
        )
    return predicted
