"""A version keeps the specification that it was made with, however model.yaml changes afterwards.

Two models, a classifier of trips and a regression of fares: trained, compared, served and rolled back for real.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests

from include.adapters.serving.inference_request import inference_inputs
from include.core.build import Build
from include.core.errors import GateError
from include.core.run_params import TrainingParams
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.stages import ci, deployment, training
from include.stages.installation import open_installation
from include.stages.reconciler import reconcile
from include.stages.scoring import score
from tests.integration.engine_contract import contract_place, server
from tests.support.serving import Serving, roll_out
from tests.support.specs import columns, model_spec
from tests.support.traffic import Traffic
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

CANARY = {"steps": [50], "requests_at_least": 30, "latency_ratio_at_most": 20, "prediction_shift_at_most": 1.0}
CODE = """
from sklearn.compose import make_column_selector, make_column_transformer
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
        rows: Any = self.frame.iloc[[7, 8]].assign(at="2013-05-17T08:00:00").to_dict("records")
        columns = {column["name"]: column for column in inference_inputs(everything, rows)}

        def send(identity: str) -> requests.Response:
            sent = [columns[name] for name in (*inputs, "id", "at")]
            return requests.post(url, json={"id": identity, "inputs": sent}, headers=headers, timeout=30)

        return Traffic(send, pause=0.05, clients=2)

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
    for place in contract_place("process", request.config.cache.mkdir("environments")):
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
        trusted_types=["builtins.object"],
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


@pytest.mark.parametrize(
    ("model", "change", "reason"),
    [
        ("trips", "gone from the data", "the data no longer has the features of version 1: hour"),
        ("trips", "another target", "predicts something else"),
        ("fares", "no longer a number", "could not predict the new data"),
    ],
    indirect=["model"],
)
def test_a_champion_that_can_not_predict_is_said_to_be_incomparable(model: Brought, change: str, reason: str) -> None:
    if change == "gone from the data":
        model.arrives(model.frame.drop(columns="hour"))
        today = model.changed(features=features_of("hour"))
    elif change == "no longer a number":
        model.arrives(model.frame.assign(hour="noon"))
        today = model.changed(features=features_of(hour="category"))
    else:
        renamed = model.frame.rename(columns={model.spec.target: "goal"})
        model.arrives(renamed)
        today = model.changed(target="goal", truth={"column": "goal"})

    made, verdict, _ = model.train(today)
    assert (made["champion"], verdict.answer) == (None, "fail")
    assert reason in verdict.reason
    assert "promotion.threshold" in verdict.reason

    worst = 0.5 if today.task == "binary_classification" else 100.0
    by_threshold = today.model_copy(update={"promotion": today.promotion.model_copy(update={"threshold": worst})})
    verdict = training.compare(by_threshold, made)
    assert verdict.passed
    assert reason in verdict.reason
    model.arrives(model.frame)
    figures = json.loads((Path(made["folder"]) / "metrics.json").read_text(encoding="utf-8"))
    assert reason in figures["verdict"]["reason"]


def test_an_older_partition_may_lack_a_feature_of_which_all_values_may_be_missing(model: Brought) -> None:
    may_lack = {"name": "snow", "type": "number", "missing_at_most": 1.0}
    today = model.changed(features=[*features_of(), may_lack])
    snapshot = training.freeze_data(open_installation(), today, TrainingParams(build=model.build.build_id), NOW)
    assert training.validate(open_installation(), today, snapshot.hash)[0].passed
    assert pd.read_parquet(snapshot.paths[0])["snow"].isna().all()


def test_a_champion_is_compared_and_served_with_its_own_features(model: Brought, tmp_path: Path) -> None:
    """A feature is added, one is removed, one is read as another type, and feature code comes in."""
    today = model.changed(
        features=features_of("hour", rain="number", zone="category", distance="category"),
    )
    model.arrives(model.frame.assign(distance=model.frame["distance"].round().astype(str)))
    made, verdict, version = model.train(today)
    assert (made["champion"], verdict.answer) == ("1", "pass"), verdict
    holdout = pd.read_parquet(Path(made["folder"]) / "holdout.parquet").set_index("id")
    assert "rain" in holdout
    own = model.expected("1", today, tmp_path)
    pd.testing.assert_series_equal(holdout["champion"], own.loc[holdout.index], check_names=False)

    model.release(today, version)
    model.answers(version, ["rain", "zone", "distance"])
    engine = open_installation().engine
    engine.stop(model.spec.name, "production", "1")
    reconcile(open_installation(), today, "production")
    model.answers("1", list(FEATURES))
    rolled_back = deployment.roll_back(open_installation(), today, "by hand")
    assert rolled_back.champion == "1"
    model.answers("1", list(FEATURES))


def test_a_feature_is_added_and_another_removed_without_a_failed_request(model: Brought) -> None:
    """The documented way (docs/changing-features.md), each step under traffic of clients that never ask again."""
    here, until = open_installation(), datetime.now(UTC).date() + timedelta(days=1)
    model.arrives(model.frame)
    first = here.store.release(model.spec.name, "production").champion
    inputs = list(FEATURES)

    def served(traffic: Traffic, version: str | None) -> None:
        """The version answers what the clients send now."""
        before = traffic.versions[str(version)]
        wait_for(lambda: traffic.failures or traffic.versions[str(version)] > before + 10, 60, f"answers of {version}")

    with model.traffic(inputs) as traffic:
        adding = model.changed(features=features_of(rain="number"), optional_inputs={"rain": until})
        _, _, second = model.train(adding)
        roll_out(adding, second, "add a feature")
        served(traffic, second)
        inputs.append("rain")
        served(traffic, second)
        deployment.roll_back(here, adding, "back")
        served(traffic, first)
        deployment.roll_back(here, adding, "forth")
        served(traffic, second)

        removing = model.changed(
            features=features_of("hour", rain="number"), optional_inputs={"rain": until, "hour": until}
        )
        _, _, third = model.train(removing)
        roll_out(removing, third, "remove a feature")
        served(traffic, third)
        inputs.remove("hour")
        served(traffic, third)
        deployment.roll_back(here, removing, "back")
        served(traffic, second)
    assert traffic.failures == []
    assert {first, second, third} <= set(traffic.versions)
    assert sum(traffic.versions.values()) > 200


@pytest.mark.parametrize("model", ["fares"], indirect=True)
def test_a_version_that_can_not_do_without_an_optional_input_is_refused_in_test(model: Brought) -> None:
    """Else the canary would answer 500 to every client that does not send it yet."""
    here, until = open_installation(), datetime.now(UTC).date() + timedelta(days=1)
    today = model.changed(estimator="model:needs_everything", optional_inputs={"distance": until})
    model.arrives(model.frame)
    _, _, version = model.train(today)
    deployment.deploy_to_test(here, today, version, "run")
    try:
        with pytest.raises(GateError, match=r"NaN.*without the optional inputs distance: let the estimator accept"):
            deployment.verify(here, today, version)
        over = model.changed(estimator="model:needs_everything", optional_inputs={"distance": "2020-01-01"})
        assert deployment.verify(here, over, version).passed
    finally:
        deployment.clear_test(here, today, "run")
