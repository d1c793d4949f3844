"""A model as it was fitted: predicts with its estimator, and with the model's own code if it has any."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import artifact
from .check import sample
from .config import Model
from .model_code import predict, prepare
from .predictions import Columns


class FittedModel:
    """A loaded ``model.skops``."""

    platform = "scikit-learn"
    runs_model_code = True

    def __init__(self, fitted: Any, model: Model):
        self._fitted, self._model = fitted, model

    def predict(self, columns: Columns | pd.DataFrame) -> np.ndarray:
        """Predictions as float64, one per row: the probability of the positive class, or the value itself.

        Raises whatever the model's code raises.
        """
        return predict(self._model, self._fitted, prepare(self._model, columns))

    def warm_up(self) -> None:
        """Predict one made-up row, so that the first request is not slower."""
        with contextlib.suppress(Exception):  # some models reject made-up values; serve them anyway
            self.predict(sample(self._model, [], 1))


def load_fitted(folder: Path, sha256: str, model: Model) -> FittedModel:
    """Load ``model.skops`` of a bundle if it has this hash; otherwise nothing is loaded. Raises ModelError."""
    return FittedModel(artifact.load(folder, sha256, model), model)
