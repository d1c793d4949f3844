"""A model that was compiled to ONNX at training: predicts without scikit-learn, pandas or any code of the model.

Imports numpy and ONNX Runtime only, so that a server starts in a fraction of the time and memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .config import Model
from .hashes import read_verified
from .jobs import ModelError
from .predictions import Columns

onnxruntime.set_default_logger_severity(4)  # it warns of devices in /sys that a confined process can't see
FILE = "model.onnx"
"""The file's name in a bundle."""
MISSING = "\ue000missing"
"""A missing category in ONNX, whose text has no null. It begins with a character of private use, and if data has this
text all the same, it is treated as missing."""
TOGETHER = "features"
"""The input's name if the model takes all features as one matrix, in the order of the specification."""
CATEGORY = "category"


class CompiledModel:
    """A loaded ``model.onnx``."""

    platform = "onnxruntime"
    runs_model_code = False

    def __init__(self, content: bytes, model: Model):
        """Load the content of ``model.onnx``; raises ModelError if this ONNX Runtime can't."""
        self._kinds = {feature["name"]: feature["type"] for feature in model["features"]}
        self._is_probability = model["task"] == "binary_classification"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # problems are raised
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no common base class for its errors
            raise ModelError(
                f"{FILE} can't be loaded by ONNX Runtime {onnxruntime.__version__}: {_first_line(error)}. Train again "
                "with this build, or set training.compile to off in model.yaml."
            ) from None
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._output = self._session.get_outputs()[-1].name
        if unknown := sorted(set(self._inputs) - {*self._kinds, TOGETHER}):
            raise ModelError(f"{FILE} takes other inputs than the model's features: {', '.join(unknown)}.")

    def predict(self, columns: Columns) -> np.ndarray:
        """Predictions as float64, one per row: the probability of the positive class, or the value itself.

        Raises ModelError.
        """
        with np.errstate(over="ignore"):  # beyond float32, numbers are infinite
            typed = {name: self._tensor(name, columns[name]) for name in self._kinds}
        if self._inputs == [TOGETHER]:
            typed = {TOGETHER: np.hstack(list(typed.values()))}
        try:
            (output,) = self._session.run([self._output], {name: typed[name] for name in self._inputs})
        except Exception as error:  # see above
            raise ModelError(f"{FILE} could not predict: {_first_line(error)}") from None
        rows = len(next(iter(typed.values())))
        if output.ndim == 0 or len(output) != rows:
            raise ModelError(f"{FILE} returned shape {output.shape} for {rows} rows.")
        predicted: np.ndarray = output.reshape(rows, -1)[:, -1].astype(float)
        # A sum of float32 may exceed 1 by a rounding.
        return np.clip(predicted, 0.0, 1.0) if self._is_probability else predicted

    def warm_up(self) -> None:
        """Predict one row of missing values, so that the first request is not slower."""
        self.predict({name: [None] for name in self._kinds})

    def _tensor(self, name: str, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """The column as a tensor of one column: text, or float32 with NaN for missing values."""
        if self._kinds[name] == CATEGORY:
            texts = [MISSING if value is None else value for value in values]
            return np.array(texts, dtype=object).reshape(-1, 1)
        return np.asarray(values, dtype=float).astype(np.float32).reshape(-1, 1)


def load_compiled(folder: Path, sha256: str, model: Model) -> CompiledModel:
    """Load ``model.onnx`` of a bundle if it has this hash; otherwise nothing is loaded. Raises ModelError."""
    return CompiledModel(read_verified(folder / FILE, sha256), model)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
