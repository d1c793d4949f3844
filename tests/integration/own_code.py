"""Two models with classes or functions of their own in the pipeline; each in a folder of one repository."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from include.core.spec import ModelSpec, Repository
from tests.support.serving import small_spec

REQUIREMENTS = "scikit-learn==1.9.1\n"
"""As the other models of the tests have, so that the environment is there already."""
CLEAN = """
import json
from pathlib import Path

from sklearn.base import BaseEstimator, TransformerMixin

RATES = json.loads((Path(__file__).parent / "rates.json").read_text(encoding="utf-8"))


class ZoneRates(BaseEstimator, TransformerMixin):
    \"\"\"The distance times the rate of the zone, and whether it is night.\"\"\"

    def fit(self, frame, target=None):
        self.columns_ = list(frame.columns)
        return self

    def transform(self, frame):
        rates = frame["zone"].map(RATES).fillna(1.0).to_numpy(dtype=float)
        return [[km * rate, night] for km, rate, night in zip(frame["km"], rates, frame["night"])]
"""
FARES = """
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from features.clean import ZoneRates


def estimator(alpha=1.0):
    return make_pipeline(ZoneRates(), Ridge(alpha))
"""
CHURN = """
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder


def log_visits(frame):
    return np.log1p(frame)


def estimator(C=1.0):
    visits = (FunctionTransformer(log_visits), ["visits"])
    plans = (OneHotEncoder(handle_unknown="ignore"), ["plan"])
    return make_pipeline(make_column_transformer(visits, plans), LogisticRegression(C=C))
"""
FILES = {
    "fares/requirements.txt": REQUIREMENTS,
    "fares/model.py": FARES,
    "fares/features/__init__.py": "",
    "fares/features/clean.py": CLEAN,
    "fares/features/rates.json": '{"centre": 3.0, "airport": 2.0}',
    "teams/churn/requirements.txt": REQUIREMENTS,
    "teams/churn/model.py": CHURN,
}
MODELS: dict[str, dict[str, Any]] = {
    "fares": {
        "task": "regression",
        "target": "price",
        "features": [
            {"name": "km", "type": "number"},
            {"name": "zone", "type": "category"},
            {"name": "night", "type": "boolean"},
        ],
        "trusted_types": ["features.clean.ZoneRates"],
        "metrics": {"primary": "mae"},
    },
    "churn": {
        "task": "binary_classification",
        "target": "left",
        "features": [{"name": "visits", "type": "integer"}, {"name": "plan", "type": "category"}],
        "trusted_types": ["model.log_visits"],
        "metrics": {"primary": "roc_auc"},
    },
}
FOLDERS = {"fares": "fares", "churn": "teams/churn"}


def spec_of(name: str, repository: str) -> ModelSpec:
    """The model's spec, with the quick gates of the small one."""
    data = {"source": {"path": f"{name}/{{window}}.parquet"}, "key": "id", "event_time": "at"}
    truth = {"source": {"path": "truth/{window}.parquet"}, "key": "id", "column": MODELS[name]["target"]}
    spec = small_spec(name, repository, **MODELS[name], data=data, truth=truth)
    return spec.model_copy(update={"repository": Repository(url=repository, path=FOLDERS[name])})


def rows(name: str, window: str, count: int = 1000) -> pd.DataFrame:
    """Training data whose target can be learned."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": [f"{name}-{number}" for number in range(count)],
            "at": pd.Timestamp(f"{window}-01") + pd.to_timedelta(random.integers(0, 27 * 1440, count), unit="min"),
        }
    )
    if name == "fares":
        zones, km = random.choice(["centre", "airport", "suburb"], count), random.uniform(1, 30, count)
        price = km * pd.Series(zones).map({"centre": 3.0, "airport": 2.0, "suburb": 1.0}) + random.normal(0, 1, count)
        return frame.assign(km=km, zone=zones, night=random.integers(0, 2, count).astype(bool), price=price)
    visits = random.integers(0, 50, count)
    left = random.random(count) < 1 / (1 + np.exp(np.log1p(visits) - 2))
    return frame.assign(visits=visits, plan=random.choice(["free", "paid"], count), left=left.astype(int))
