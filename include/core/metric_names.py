"""The names and directions of the metrics. Does not import numpy, because every parse of a Dag file imports this."""

from __future__ import annotations

CLASSIFICATION_METRICS = (
    *("roc_auc", "pr_auc", "log_loss", "brier", "calibration_error"),
    *("accuracy", "precision", "recall", "f1"),
)
REGRESSION_METRICS = ("mae", "rmse", "r2", "bias", "median_absolute_error", "p90_absolute_error")
HIGHER_IS_BETTER = frozenset({"roc_auc", "pr_auc", "r2", "accuracy", "precision", "recall", "f1"})
WITHOUT_DIRECTION = frozenset({"bias"})
"""Metrics that are reported but can't be the primary one: +5 is as bad as -5, and 0 says nothing about the errors."""
