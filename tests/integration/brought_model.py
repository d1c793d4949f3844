"""Two small models as a user brings them, a classifier of trips and a regression of fares; version 1 serves."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests

from include.adapters.serving.inference_request import inference_inputs
from include.core.build import Build
from include.core.run_params import TrainingParams
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.stages import ci, deployment, training
from include.stages.installation import open_installation
from include.stages.scoring import score
from tests.integration.engine_contract import contract_place, server
from tests.support.serving import Serving
from tests.support.specs import columns, model_spec
from tests.support.traffic import Traffic
from tests.support.waiting import wait_for

CANARY: dict[str, Any] = {
    "steps": [50],
    "requests_at_least": 30,
    "latency_ratio_at_most": 10_000.0,  # with few requests on a busy machine, one slow one would fail a canary
    "prediction_shift_at_most": 1.0,
    "predictions": {"required": False},  # features come and go
}
COMPARED = CANARY | {"predictions": {"mean_shift_at_most": 2, "spread_ratio_at_most": 5}}
CODE = """
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def classifier():
    return on_features(LogisticRegression())


def regressor():
    return on_features(LinearRegression())


def on_features(last):
    categories = (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=object))
    numbers = (SimpleImputer(), make_column_selector(dtype_exclude=object))
    return make_pipeline(make_column_transformer(categories, numbers), last)


def far_off():
    return DummyRegressor(strategy="constant", constant=1000.0)


def needs_everything():
    categories = (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=object))
    numbers = ("passthrough", make_column_selector(dtype_exclude=object))
    return make_pipeline(make_column_transformer(categories, numbers), LinearRegression())


def without_hour(frame):
    return frame.drop(columns="hour")
"""
FEATURES = {"distance": "number", "hour": "number", "zone": "category"}
TASKS: dict[str, dict[str, Any]] = {
    "trips": {"target": "late", "estimator": "model:classifier"},
    "fares": {"target": "fare", "estimator": "model:regressor", "task": "regression"},
}
NOW = pd.Timestamp("2013-07-01").to_pydatetime()


def data(rows: int = 1500) -> pd.DataFrame:
    """Rows of May 2013."""
    random = np.random.default_rng(1)
    distance, hour, rain = random.uniform(1, 30, rows), random.integers(0, 24, rows), random.uniform(0, 5, rows)
    odds = (hour - 12) / 4 + (distance - 15) / 10 + rain / 2
    return pd.DataFrame(
        {
            "id": [f"trip-{number}" for number in range(rows)],
            "at": pd.date_range("2013-05-01", "2013-05-31", periods=rows).as_unit("us"),
            "distance": distance,
            "hour": hour.astype(float),
            "zone": random.choice(["00501", "north"], rows).astype(object),
            "rain": rain,
            "late": (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(int),
            "fare": 3 * distance + rain,
        }
    )


@dataclass
class Brought:
    """A model whose version 1 serves, made from FEATURES."""

    place: Serving
    spec: ModelSpec
    build: Build
    frame: pd.DataFrame

    def changed(self, **changes: Any) -> ModelSpec:
        """The specification after a change of model.yaml."""
        values = self.spec.model_dump(by_alias=True)
        for name, change in changes.items():
            values[name] = {**values[name], **change} if isinstance(change, dict) else change
        return ModelSpec.model_validate(values)

    def arrives(self, frame: pd.DataFrame) -> None:
        """The training data is now this."""
        path = open_installation().settings.home / "lake" / self.spec.name / "2013-05.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(path, index=False)

    def train(self, spec: ModelSpec) -> tuple[training.Candidate, Verdict, str]:
        """What the tasks of the training Dag do: the candidate, its verdict, and its version."""
        here, run = open_installation(), f"run-{time.time_ns()}"
        params = TrainingParams(build=self.build.build_id)
        snapshot = training.freeze_data(here, spec, params, NOW)
        verdict, report = training.validate(here, spec, snapshot.hash)
        assert verdict.passed, report.read_text(encoding="utf-8")
        made = training.train_candidate(here, spec, self.build.build_id, snapshot.hash, run, {})
        verdict = training.compare(spec, made)
        version = training.register(
            here, spec, made, snapshot.hash, verdict, run_id=run, reason="for tests", parameters={}
        )
        return made, verdict, version

    def release(self, spec: ModelSpec, version: str) -> None:
        """Bring the version into production without a canary."""
        here = open_installation()
        deployment.start_canary(here, spec, version, f"run-{version}")
        deployment.promote(here, spec, version, f"run-{version}")

    def traffic(self, inputs: list[str]) -> Traffic:
        """Clients that send these inputs through the gateway; the list may be changed meanwhile."""
        here = open_installation()
        url = f"http://127.0.0.1:{here.settings.gateway_port}/v2/models/{self.spec.name}/infer"
        headers = {"Authorization": f"Bearer {here.settings.secret('prediction_token')}"}
        everything = self.changed(features=features_of(rain="number"))
        rows: Any = self.frame.iloc[:200].assign(at="2013-05-17T08:00:00").to_dict("records")
        columns: dict[str, Any] = {column["name"]: column for column in inference_inputs(everything, rows)}
        text = {"datatype": "BYTES", "data": [str(value) for value in columns["distance"]["data"]]}
        columns["distance as text"] = {**columns["distance"], **text}

        numbers = itertools.count()

        def send(identity: str) -> requests.Response:
            first = 2 * next(numbers) % 200
            part = slice(first, first + 2)
            named = [columns[name] for name in (*inputs, "id", "at")]
            sent = [{**column, "shape": [2], "data": column["data"][part]} for column in named]
            return requests.post(url, json={"id": identity, "inputs": sent}, headers=headers, timeout=30)

        return Traffic(send, pause=0.05, clients=2)

    def ask_alone(self, requests: int) -> None:
        """As many requests, then silence."""
        with self.traffic(list(FEATURES)) as traffic:
            wait_for(lambda: traffic.failures or len(traffic.answered) >= requests, 60, "answers")
        assert traffic.failures == []

    def expected(self, version: str, spec: ModelSpec, folder: Path) -> pd.Series:
        """The version's own predictions for all rows, by key, made under this specification."""
        path = open_installation().settings.home / "lake" / self.spec.name / "2013-05.parquet"
        return score(open_installation(), spec, version, [str(path)], folder).set_index("id")["prediction"]

    def answers(self, version: str, features: list[str]) -> None:
        """The server of the version answers a request with these features with the version's own prediction."""
        row = self.frame.iloc[[7, 8]]
        sent: Any = row[[*features, "id"]].assign(at=row["at"].astype(str)).to_dict("records")
        own = open_installation().registry.spec(self.spec, version)
        answered = server(self.spec, version).predict(own, sent, f"asked-{time.time_ns()}")
        assert len(answered) == 2
        assert np.isfinite(answered).all()


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Serving]:
    for place in contract_place("process", request):
        place.git.commit({"model.py": CODE, "requirements.txt": "scikit-learn==1.9.1\n"})
        yield place


@pytest.fixture(scope="module", params=TASKS)
def model(place: Serving, request: pytest.FixtureRequest) -> Iterator[Brought]:
    """A model of each task, with version 1 in production; only the last test releases another."""
    here, name = open_installation(), f"{request.param}{time.time_ns()}"
    spec = model_spec(
        name=name,
        repository={"url": place.repository},
        features=columns(**FEATURES),
        data={"source": {"path": f"{name}/{{window}}.parquet"}},
        training={"windows": 1, "holdout_days": 10},
        promotion={"holdout_rows_at_least": 50, "improvement": -1000.0},
        deployment={"canary": CANARY | {"check_seconds": 0.1}, "load_requests": 20},
        **TASKS[request.param],
    )
    commit = ci.check_out_commit(here, spec)
    prepared = ci.build_environment(here, spec, commit)
    build = Build(name, prepared.build_id, commit, prepared.environment, "passed")
    here.store.record_build(build)
    brought = Brought(place, spec, build, data())
    brought.arrives(brought.frame)
    _, verdict, version = brought.train(spec)
    assert verdict.passed, verdict
    brought.release(spec, version)
    yield brought
    place.retire(spec)


def features_of(*left_out: str, **more: str) -> list[dict[str, str]]:
    return columns(**{name: kind for name, kind in {**FEATURES, **more}.items() if name not in left_out})
