"""Made-up flights for the tests of data."""

import numpy as np
import pandas as pd

from include.adapters.spec_file import load_spec
from include.settings import PROJECT


def flights_of(window: str, rows: int = 1200, seed: int = 0) -> pd.DataFrame:
    """Made-up rows that satisfy the bundled spec."""
    spec = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
    random = np.random.default_rng(seed)
    columns = {
        "flight_id": [f"{window}-{number}" for number in range(rows)],
        "scheduled_departure": pd.Timestamp(f"{window}-01")
        + pd.to_timedelta(random.integers(0, 27 * 24 * 60, rows), unit="min"),
        "late": random.integers(0, 2, rows),
    }
    for feature in spec.features:
        if feature.type == "category":
            columns[feature.name] = random.choice(feature.categories or ["a", "b", "c"], rows)
        else:
            low, high = feature.minimum or 0, feature.maximum or 100
            values = random.uniform(low, high, rows)
            columns[feature.name] = values.astype(int) if feature.type == "integer" else values
    return pd.DataFrame(columns)
