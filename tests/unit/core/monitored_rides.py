"""A model of taxi rides and rows of it, for the tests of profiles, counts and drift."""

from typing import Any

import numpy as np
import pandas as pd

from include.core.spec import ModelSpec

FEATURES = [
    {"name": "distance", "type": "number", "minimum": 0, "missing_at_most": 0.5},
    {"name": "hour", "type": "integer", "minimum": 0, "maximum": 23},
    {"name": "zone", "type": "category"},
    {"name": "shared", "type": "boolean"},
]


def ride_spec(**monitoring: Any) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "schema": 1,
            "name": "taxi",
            "owner": "team",
            "description": "d",
            "repository": {"url": "r"},
            "task": "regression",
            "target": "minutes",
            "features": FEATURES,
            "data": {"source": {"path": "{window}.csv"}, "key": "id", "event_time": "at"},
            "truth": {"source": {"path": "t{window}.csv"}, "key": "id", "column": "minutes"},
            "metrics": {"primary": "mae"},
            "degradation": {"drop": 1},
            "monitoring": monitoring,
        }
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
