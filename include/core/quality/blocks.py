"""Which rows depend on each other: ``data.dependence`` of model.yaml, as a block number of each row."""

from __future__ import annotations

import numpy as np
import pandas as pd

from include.core.errors import DataError
from include.core.quality.metrics import Array
from include.core.spec import ModelSpec

DAY, NONE = "day", "none"
"""Values of ``data.dependence`` that are no column."""


def blocks_of(frame: pd.DataFrame, spec: ModelSpec, time: str) -> Array | None:
    """The block of each row (0, 1, ...), shape [n]; None if rows are independent of each other.

    ``time`` is the column of the event timestamp (UTC): with ``day``, rows of one day are a block. Otherwise rows with
    the same value of the named column are; those without a value are a block as well. Raises DataError if the column is
    missing.
    """
    kind = spec.data.dependence
    if kind == NONE:
        return None
    column = time if kind == DAY else kind
    if column not in frame.columns:
        raise DataError(
            f"can't tell which rows depend on each other: column '{column}' is missing. Correct data.dependence in "
            "model.yaml: day, none, or the name of a feature."
        )
    values = frame[column]
    if kind == DAY:
        values = pd.to_datetime(values).dt.floor("D")
    codes, _ = pd.factorize(values, use_na_sentinel=False)
    return np.asarray(codes, dtype=np.int64)
