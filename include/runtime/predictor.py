"""What predicts: the compiled model if a version has one, else the fitted estimator. Jobs and servers ask here.

Each kind is imported only where it is used: a server of a compiled model never imports pandas or scikit-learn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from .config import Artifact, Model, ScoreJob, ServerConfig
from .predictions import Columns


class Predictor(Protocol):
    """A loaded model."""

    platform: str
    """The library that predicts, as named in the server's metadata."""
    runs_model_code: bool
    """Whether predicting may take any time, because it can call code of the model."""

    def predict(self, columns: Columns) -> np.ndarray:
        """Predictions as float64, one per row: the probability of the positive class, or the value itself."""

    def warm_up(self) -> None:
        """Predict once, so that the first request is not slower."""


def load_predictor(version: Artifact | ScoreJob | ServerConfig, model: Model) -> Predictor:
    """Load what serves a version: ``model.onnx`` if one was registered with it, else ``model.skops``.

    Raises ModelError when the file differs from the registered one or can't be loaded. A damaged ``model.onnx`` never
    falls back to the other file: predictions would be logged that nobody verified.
    """
    folder, compiled = Path(version["artifact"]), version.get("compiled")
    if compiled:
        from .compiled import load_compiled

        return load_compiled(folder, compiled, model)
    from .fitted import load_fitted

    return load_fitted(folder, version["sha256"], model)
