"""What a data scientist finds in MLflow: a version that loads and predicts, its parameters, data, card and pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from include.adapters.data.snapshots import Snapshot, take_snapshot
from include.core.spec import ModelSpec
from include.core.verdict import Answer, Verdict
from include.runtime import train
from include.runtime.hashes import file_hash
from include.runtime.jobs import ModelError
from include.stages import training
from include.stages.holdout import take_holdout
from include.stages.installation import Installation, open_installation
from tests.support.small_model import model_block, small_data, train_job
from tests.support.specs import model_spec

OWN_CODE = """
class Halved(LinearRegression):
    def predict(self, frame):
        return super().predict(frame) / 2


def halved(fit_intercept=True):
    return on_features(Halved(fit_intercept=fit_intercept))


def doubled(frame):
    return frame.assign(distance=2 * frame["distance"])
"""
SINCE, UNTIL = datetime(2013, 5, 21), datetime(2013, 6, 1)
MODELS: dict[str, dict[str, Any]] = {
    "delays": {"task": "binary_classification", "target": "late", "estimator": "estimator", "parameters": {"C": 0.5}},
    "minutes": {"task": "regression", "target": "delay", "estimator": "regressor", "parameters": {}},
    "halves": {
        "task": "regression",
        "target": "delay",
        "estimator": "halved",
        "parameters": {"fit_intercept": False},
        "feature_code": "doubled",
        "trusted_types": ["MODULE.Halved"],
    },
}


@dataclass
class Trained:
    """A registered version, and what its candidate predicted for the holdout."""

    installation: Installation
    spec: ModelSpec
    made: training.Candidate
    snapshot: Snapshot
    code: Path
    holdout: pd.DataFrame

    def register(self, answer: Answer = "pass", run: str = "run-1") -> str:
        """Register it with a verdict as training.compare would have given it."""
        verdict = Verdict(answer, "because [it](http://evil) is")
        file = Path(self.made["folder"]) / "metrics.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"verdict": verdict.as_dict()}))
        given: dict[str, Any] = {"reason": "new <b>data</b>", "parameters": {"more": "x"}}
        return training.register(
            self.installation, self.spec, self.made, self.snapshot.hash, verdict, run_id=run, **given
        )

    def run(self, version: str) -> Any:
        registry = self.installation.registry
        return registry.client.get_run(str(registry.version(self.spec.name, version).run_id))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installation of its own; MLflow's functions use its registry."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    monkeypatch.delenv("EVERGREEN_MODEL_CODE", raising=False)
    monkeypatch.setenv("AIRFLOW_CONN_EVERGREEN_LAKE", json.dumps({"conn_type": "fs", "extra": {"path": str(tmp_path)}}))
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "data").mkdir()
    small_data().to_parquet(tmp_path / "data" / "2013-05.parquet", index=False)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(open_installation().settings.mlflow)
    yield tmp_path
    mlflow.set_tracking_uri(before)


def train_model(home: Path, name: str) -> Trained:
    """Train in this process, which has what the model's own environment would have."""
    more, code = MODELS[name], home / "code" / name
    code.parent.mkdir(exist_ok=True)
    block = model_block(code, OWN_CODE, name=name, **more)
    features = [{**feature, "missing_at_most": 0.1} for feature in block["features"]]
    spec = model_spec(
        name=name,
        owner="team <i>fares</i>",
        features=features,
        task=more["task"],
        target=more["target"],
        estimator=block["estimator"],
        feature_code=block["feature_code"],
        trusted_types=block["trusted_types"],
        training={"parameters": more["parameters"]},
        metrics={"slices": ["origin"]},
    )
    installation = open_installation()
    snapshot = take_snapshot(installation.settings, spec, "2013-05")
    folder = home / "candidate" / name
    folder.mkdir(parents=True)
    train.main(train_job(folder, block, data=snapshot.paths, out=str(folder)))
    (folder / "spec.json").write_text(spec.model_dump_json(by_alias=True), encoding="utf-8")
    take_holdout(spec, snapshot, folder / "holdout.parquet", ["prediction"], SINCE, UNTIL)
    made: training.Candidate = {
        "folder": str(folder),
        "champion": None,
        "build": "c0ffee-b1",
        "commit": "c0ffee" * 6,
        "holdout_from": SINCE.isoformat(),
        "holdout_until": UNTIL.isoformat(),
    }
    training.compare(spec, made)
    return Trained(installation, spec, made, snapshot, code, pd.read_parquet(folder / "holdout.parquet"))


@pytest.mark.parametrize("name", ["delays", "minutes"])
def test_a_registered_version_loads_by_its_alias_and_predicts_as_in_training(home: Path, name: str) -> None:
    trained = train_model(home, name)
    version = trained.register()
    trained.installation.registry.set_champion(name, version)

    loaded = mlflow.pyfunc.load_model(f"models:/{name}@champion")

    features = trained.holdout[trained.spec.feature_names]
    np.testing.assert_allclose(loaded.predict(features), trained.holdout["prediction"], rtol=1e-9)
    inputs = {column.name: (column.type.name, column.required) for column in loaded.metadata.get_input_schema()}
    assert inputs == {"distance": ("double", False), "origin": ("string", False), "night": ("boolean", False)}
    golden = json.loads((trained.installation.registry.fetch(name, version) / "golden.json").read_text())
    assert loaded.input_example is not None and len(loaded.input_example) == 1
    np.testing.assert_allclose(loaded.predict(loaded.input_example), golden["predictions"][:1], rtol=1e-9)
    assert len(loaded.predict(features.drop(columns="night"))) == len(features), "it may be missing"
    with pytest.raises(mlflow.MlflowException, match="distance"):
        loaded.predict(features.assign(distance="far"))


def test_a_model_with_code_of_its_own_loads_from_a_checkout_or_its_build(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = train_model(home, "halves")
    uri = f"models:/halves/{trained.register()}"
    with pytest.raises(ModelError, match="Check out commit c0ffee.* and set EVERGREEN_MODEL_CODE"):
        mlflow.pyfunc.load_model(uri)
    features = trained.holdout[trained.spec.feature_names]
    with monkeypatch.context() as patch:
        patch.setenv("EVERGREEN_MODEL_CODE", str(trained.code))
        predicted = mlflow.pyfunc.load_model(uri).predict(features)
    np.testing.assert_allclose(predicted, trained.holdout["prediction"], rtol=1e-9)
    build = trained.installation.settings.builds / "halves" / "c0ffee-b1" / "code"
    shutil.copytree(trained.code, build)
    np.testing.assert_allclose(mlflow.pyfunc.load_model(uri).predict(features), predicted)


@pytest.mark.parametrize("changed", ["model.skops", "spec.json", "MLmodel"])
def test_a_version_whose_files_were_changed_is_not_loaded(home: Path, changed: str) -> None:
    """Not even if the description next to the artifact was changed with it."""
    trained = train_model(home, "minutes")
    uri = f"models:/minutes/{trained.register()}"
    stored = Path(trained.run("1").info.artifact_uri)
    with (stored / changed).open("ab") as file:
        file.write(b"\n")
    described = json.loads((stored / "model.json").read_text())
    if changed == "model.skops":
        described["sha256"] = file_hash(stored / "model.skops")
        (stored / "model.json").write_text(json.dumps(described))
    with pytest.raises(ModelError, match=r"is not what was registered\. It was changed or damaged"):
        mlflow.pyfunc.load_model(uri)


def test_a_run_shows_what_was_trained_with_what_on_what(home: Path) -> None:
    trained = train_model(home, "delays")
    version = trained.register()
    run = trained.run(version)

    parameters = run.data.params
    assert parameters["C"] == "0.5" and parameters["more"] == "x", "the arguments"
    assert parameters["logisticregression__C"] == "0.5", "what the fitted estimator says"
    assert parameters["logisticregression__max_iter"] == "100", "a default that no model.yaml names"
    assert parameters["rows"] == "400" and int(parameters["rows_trained"]) + int(parameters["rows_holdout"]) == 400
    figures = json.loads((Path(trained.made["folder"]) / "metrics.json").read_text())
    assert run.data.metrics["roc_auc"] == figures["quality"]["roc_auc"]["value"]
    assert run.data.metrics["roc_auc.origin:EWR"] == figures["slices"]["origin=EWR"]["roc_auc"]["value"]
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("2013-05", trained.snapshot.hash[:36])
    assert mlflow.data.get_source(data.dataset).load() == trained.snapshot.paths[-1]

    registry = trained.installation.registry
    kept = registry.version("delays", version)
    about = {"verdict", "verdict_reason", "commit", "served_by", "not_compiled"}
    assert set(kept.tags) == about | {"sha256", "evergreen.files", "evergreen.lineage"}
    assert {name for name in run.data.tags if not name.startswith("mlflow.")} == about | {"evergreen.candidate"}
    assert run.data.tags["mlflow.source.git.commit"] == trained.made["commit"]
    card = Path(mlflow.artifacts.download_artifacts(f"models:/delays/{version}/card.md")).read_text(encoding="utf-8")
    assert card == kept.description, "a short one is the description too"
    assert "http://evil" not in card and "<b>" not in card and "**offered for deployment**: because" in card
    model = registry.client.get_registered_model("delays")
    assert model.tags["owner"] == "team <i>fares</i>" and model.description.startswith("Made for tests.")
    pictures = registry.client.list_artifacts(run.info.run_id, "pictures")
    assert [Path(picture.path).stem for picture in pictures] == [
        "calibration",
        "confusion_matrix",
        "precision_recall",
        "roc",
    ]


def test_only_an_offered_version_is_the_challenger_and_registering_again_changes_nothing(home: Path) -> None:
    trained = train_model(home, "delays")
    registry = trained.installation.registry
    assert trained.register("fail", "refused") == "1"
    assert registry.alias("delays", "challenger") is None
    assert trained.register("pass", "offered") == "2"
    assert registry.alias("delays", "challenger") == "2"
    assert trained.register("fail", "refused too") == "3"
    assert registry.alias("delays", "challenger") == "2", "it is still offered"
    registry.set_champion("delays", "2")
    assert trained.register("pass", "offered") == "2", "the cleared task of the run that made the champion"
    assert registry.alias("delays", "challenger") is None


def test_a_registration_that_was_cut_off_before_the_version_gives_files_that_match(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle is made again, after the run's files were logged: it has to be the same, byte by byte."""
    trained = train_model(home, "delays")
    registry = trained.installation.registry

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry.client, "create_model_version", killed)
        with pytest.raises(KeyboardInterrupt):
            trained.register()
    version = trained.register()
    assert registry.fetch("delays", version).is_dir()
