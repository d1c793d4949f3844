"""How much a fitted model depends on each of its features: permutation importance.

L. Breiman, "Random Forests", Machine Learning 45 (2001), section 10: shuffle one feature among the rows and measure how
much worse the predictions get. The loss is the mean squared error, which for probabilities is the Brier score.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd

from .config import Model
from .frames import feature_frame
from .model_code import predict, prepare

ROWS = 1_000
"""At most this many rows are shuffled."""
SECONDS = 20.0
"""Models that would need longer have no importances."""


def feature_importances(model: Model, fitted: Any, rows: pd.DataFrame, seed: int = 0) -> dict[str, float]:
    """Feature → its share of the rise of the loss, 0 to 1, over all features; those that do not raise it have 0.

    ``rows`` have features and target. Empty, with a message, if the model fails on shuffled rows or is too slow.
    """
    target = feature_frame(rows, [{"name": model["target"], "type": "number"}])[model["target"]]
    rows = rows[np.isfinite(target.to_numpy())]
    rows = rows.sample(min(ROWS, len(rows)), random_state=seed).reset_index(drop=True)
    truth = feature_frame(rows, [{"name": model["target"], "type": "number"}])[model["target"]].to_numpy()
    random = np.random.default_rng(seed)
    names = [feature["name"] for feature in model["features"]]
    try:
        started = time.perf_counter()
        before = _loss(model, fitted, rows, truth)
        if (time.perf_counter() - started) * len(names) > SECONDS:
            print("feature importances are not measured: the model is too slow", flush=True)
            return {}
        shuffled = (rows.assign(**{name: rows[name].to_numpy()[random.permutation(len(rows))]}) for name in names)
        rises = np.array([max(_loss(model, fitted, each, truth) - before, 0.0) for each in shuffled])
    except (Exception, SystemExit) as error:  # the model's code, on combinations of values that do not exist
        print(f"feature importances are not measured: {type(error).__name__} on shuffled rows", flush=True)
        return {}
    total = rises.sum()
    if not np.isfinite(total):
        return {}
    shares = rises / total if total > 0 else rises
    return {name: round(float(share), 6) for name, share in zip(names, shares, strict=True)}


def _loss(model: Model, fitted: Any, rows: pd.DataFrame, truth: np.ndarray) -> float:
    """The mean squared error; infinite or NaN if a prediction is."""
    return float(np.mean((predict(model, fitted, prepare(model, rows)) - truth) ** 2))
