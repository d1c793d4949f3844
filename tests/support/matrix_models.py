"""Twelve small models that cover every pair of task, code, data source and change of the specification."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from include.core.windows import window_bounds
from tests.support.specs import columns, spec_values

TASKS = ("binary_classification", "regression")
CODES = ("plain", "own_transformer", "feature_code", "lightgbm")
SOURCES = ("parquet", "csv", "sql")
CHANGES = ("added", "removed", "retyped")

BEFORE, AFTER = "2013-05", "2013-06"
REQUIREMENTS = "scikit-learn==1.9.1\nlightgbm==4.7.0\n"
FILES = {
    "requirements.txt": REQUIREMENTS,
    "own/__init__.py": "",
    "own/amounts.py": """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class LogAmount(BaseEstimator, TransformerMixin):
    def fit(self, frame, target=None):
        self.columns_ = list(frame.columns)
        return self

    def transform(self, frame):
        return frame.assign(amount=np.log1p(frame["amount"].clip(lower=0)))
""",
    "model.py": """
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from own.amounts import LogAmount

TEXT, NUMBERS = make_column_selector(dtype_include=object), make_column_selector(dtype_exclude=object)


def estimator(code, task):
    regression = task == "regression"
    if code == "lightgbm":
        from lightgbm import LGBMClassifier, LGBMRegressor

        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        last = (LGBMRegressor if regression else LGBMClassifier)(n_estimators=10, verbose=-1)
        return make_pipeline(make_column_transformer((codes, TEXT), remainder="passthrough"), last)
    encoded = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), TEXT), (SimpleImputer(), NUMBERS))
    steps = [LogAmount()] if code == "own_transformer" else []
    return make_pipeline(*steps, encoded, LinearRegression() if regression else LogisticRegression(max_iter=1000))


def prepare(frame):
    return frame.assign(squared=frame["amount"] ** 2)
""",
}
FEATURES = {"amount": "number", "zone": "category", "night": "boolean", "visits": "integer"}
DATATYPES = {"number": "FP64", "category": "BYTES", "boolean": "BOOL", "integer": "INT64"}
CANARY = {
    "steps": [50],
    "requests_at_least": 2,
    "latency_ratio_at_most": 10_000.0,  # with few requests on a busy machine, one slow one would hold a canary
    "prediction_shift_at_most": 1.0,
    "predictions": {"mean_shift_at_most": 2, "spread_ratio_at_most": 5},  # features come and go
    "check_seconds": 1,
}


@dataclass(frozen=True)
class Cell:
    """One model of the matrix."""

    task: str
    code: str
    source: str
    change: str

    @property
    def name(self) -> str:
        """Such as ``plain-csv``: no two have the same code and source."""
        return f"{self.code}-{self.source}"

    @property
    def target(self) -> str:
        """The column that it predicts."""
        return "price" if self.task == "regression" else "left"

    def features(self, changed: bool) -> dict[str, str]:
        """Feature → type, before or after the change."""
        types = dict(FEATURES)
        if self.change == "added" and not changed:
            del types["visits"]
        elif self.change == "removed" and changed:
            del types["night"]
        elif self.change == "retyped" and changed:
            types["visits"] = "category"
        return types

    @property
    def touched(self) -> str:
        """The feature that changes."""
        return "night" if self.change == "removed" else "visits"

    def spec(self, root: Path, changed: bool) -> dict[str, Any]:
        """The content of its model.yaml; its data lie below ``root``."""
        until = datetime.now(UTC).date() + timedelta(days=1)
        return spec_values(
            name=self.name,
            repository={"url": "repositories/matrix.git"},
            task=self.task,
            target=self.target,
            features=columns(**self.features(changed)),
            optional_inputs={self.touched: until} if changed else {},
            estimator="model:estimator",
            feature_code="model:prepare" if self.code == "feature_code" else None,
            trusted_types=["own.amounts.LogAmount"] if self.code == "own_transformer" else [],
            data={"source": self._source(root, "data"), "rows_at_least": 50},
            truth={"source": self._source(root, "truth")},
            training={
                "windows": 2,
                "holdout_days": 7,
                "on_new_data": True,
                "parameters": {"code": self.code, "task": self.task},
            },
            promotion={"holdout_rows_at_least": 30, "improvement": -1000.0, "slice_drop_at_most": 1000.0},
            deployment={"golden_examples": 10, "load_requests": 20, "canary": CANARY},
            monitoring={"schedule": None, "rows_at_least": 20},
            degradation={"drop": 1000.0},
        )

    def land(self, root: Path, window: str) -> pd.DataFrame:
        """The window's training data and truth arrive; returns the data."""
        frame = rows(window)
        truth = frame[["id", self.target]]
        for kind, part in (("data", frame), ("truth", truth)):
            if self.source == "sql":
                with closing(sqlite3.connect(root / "warehouse.db")) as database:
                    dated = part.assign(at=frame["at"].astype(str))
                    dated.to_sql(f"{kind}_{self.name}", database, if_exists="append", index=False)
                continue
            folder = root / self.name / kind
            folder.mkdir(parents=True, exist_ok=True)
            if self.source == "csv":
                part.to_csv(folder / f"{window}.csv", index=False)
            else:
                part.to_parquet(folder / f"{window}.parquet", index=False)
        return frame

    def request(self, frame: pd.DataFrame, identity: str, changed: bool) -> dict[str, Any]:
        """A prediction request for these rows, as clients send it before or after the change."""
        types = self.features(changed)
        sent = frame.assign(at=frame["at"].astype(str))
        if types.get("visits") == "category":
            sent["visits"] = sent["visits"].astype(str)
        kinds = {name: DATATYPES[kind] for name, kind in types.items()} | {"id": "BYTES", "at": "BYTES"}
        inputs = [
            {"name": name, "datatype": datatype, "shape": [len(sent)], "data": sent[name].tolist()}
            for name, datatype in kinds.items()
        ]
        return {"id": identity, "inputs": inputs}

    def _source(self, root: Path, kind: str) -> dict[str, str]:
        if self.source == "sql":
            query = f'SELECT * FROM "{kind}_{self.name}" WHERE at >= :start AND at < :end'
            return {"connection": "warehouse", "query": query}
        return {"path": f"{root}/{self.name}/{kind}/{{window}}.{self.source}"}


CELLS = [
    Cell(TASKS[(code + source) % 2], CODES[code], SOURCES[source], CHANGES[(code + source) % 3])
    for code, source in product(range(len(CODES)), range(len(SOURCES)))
]


def missing_pairs() -> Iterator[tuple[str, str]]:
    """Pairs of values of two factors that no model has."""
    for (one, first), (two, second) in combinations(
        {"task": TASKS, "code": CODES, "source": SOURCES, "change": CHANGES}.items(), 2
    ):
        for pair in product(first, second):
            if all((getattr(cell, one), getattr(cell, two)) != pair for cell in CELLS):
                yield pair


def rows(window: str, count: int = 300) -> pd.DataFrame:
    """Rows of one month whose targets hang on all features; zones are texts that look like something else."""
    random = np.random.default_rng(int(window.replace("-", "")))
    start, end = window_bounds(window, "month")
    zone, night = random.choice(["00501", "NA", "north"], count), random.random(count) < 0.4
    amount, visits = random.uniform(1, 30, count), random.integers(0, 9, count)
    price = 2 * amount + 5 * night + visits + 3 * (zone == "NA") + random.normal(0, 2, count)
    return pd.DataFrame(
        {
            "id": [f"{window}-{number}" for number in range(count)],
            "at": pd.date_range(start, end - timedelta(hours=1), count).as_unit("us").floor("s"),
            "amount": amount,
            "zone": zone.astype(object),
            "night": night,
            "visits": visits,
            "price": price,
            "left": (price + random.normal(0, 5, count) > np.median(price)).astype(int),
        }
    )
