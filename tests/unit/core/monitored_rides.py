"""A model of taxi rides and rows of it, for the tests of profiles, counts and drift."""

from typing import Any

import numpy as np
import pandas as pd

from include.core.spec import ModelSpec
from tests.support.specs import model_spec

FEATURES = [
    {"name": "distance", "type": "number", "minimum": 0, "missing_at_most": 0.5},
    {"name": "hour", "type": "integer", "minimum": 0, "maximum": 23},
    {"name": "zone", "type": "category"},
    {"name": "shared", "type": "boolean"},
]


def ride_spec(**monitoring: Any) -> ModelSpec:
    """A spec whose drift is judged by these fields of ``monitoring``."""
    return model_spec(
        name="taxi", task="regression", target="minutes", features=FEATURES, monitoring={"window": "day", **monitoring}
    )


def rides(count: int = 5000, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "distance": random.gamma(2, 2, count),
            "hour": random.integers(0, 24, count),
            "zone": random.choice(["a", "b", "c"], count, p=[0.6, 0.3, 0.1]),
            "shared": random.random(count) < 0.2,
            "prediction": random.normal(10, 3, count),
        }
    )
