"""Compiling in a build's own environment: what becomes model.onnx, what does not, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.adapters.engines import environments
from include.runtime.compiled import CompiledModel
from include.stages.installation import open_installation
from tests.integration.engine_contract import build_of, contract_place
from tests.support.compiled_models import CLASSIFIER, NUMBERS, REGRESSOR, REGRESSOR_CODE
from tests.support.serving import Serving
from tests.support.small_model import FEATURES, model_block, small_data, train_job

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

TOLERANCE = 1e-5
OWN_TRANSFORMER = """
from sklearn.base import BaseEstimator, TransformerMixin


class Doubled(TransformerMixin, BaseEstimator):
    def fit(self, frame, target=None):
        self.fitted_ = True
        return self

    def transform(self, values):
        return values * 2


def doubled():
    numbers = (make_pipeline(SimpleImputer(), Doubled()), ["distance", "night"])
    return make_pipeline(make_column_transformer(numbers), LogisticRegression())
"""
SETS = """
from sklearn.ensemble import HistGradientBoostingClassifier


def sets():
    return HistGradientBoostingClassifier(max_iter=5, categorical_features=["origin"])
"""
TREES = """
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.preprocessing import OrdinalEncoder


def trees():
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((encoder, ["origin"]), remainder="passthrough")
    return make_pipeline(columns, HistGradientBoostingRegressor(max_iter=20))
"""
STRICT = """
from sklearn.preprocessing import OrdinalEncoder


def strict():
    categories = (OrdinalEncoder(), ["origin"])
    numbers = (SimpleImputer(), ["distance", "night"])
    return make_pipeline(make_column_transformer(numbers, categories), LogisticRegression())
"""
DIGITS = """
from sklearn.ensemble import HistGradientBoostingRegressor


def digits():
    return HistGradientBoostingRegressor(max_iter=20)
"""
PREPARE = "\n\ndef prepare(frame):\n    return frame\n"
REGRESSION = {"task": "regression", "target": "delay"}
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "classifier": ("", {}, ""),
    "regressor": (REGRESSOR_CODE, {"estimator": "bare", "features": NUMBERS, **REGRESSION}, ""),
    "trees": (TREES, {"estimator": "trees", **REGRESSION}, ""),
    "transformer of its own": (
        OWN_TRANSFORMER,
        {"estimator": "doubled", "features": NUMBERS, "trusted_types": ["MODULE.Doubled"]},
        "Doubled",
    ),
    "feature code": (PREPARE, {"feature_code": "prepare"}, "its features are computed by code of the model"),
    "sets of categories": (SETS, {"estimator": "sets", "trusted_types": ["functools.partial"]}, "input"),
    "refuses what it has not seen": (
        STRICT,
        {"estimator": "strict"},
        "with a category of origin that training did not have, the compiled model predicts and the estimator does not",
    ),
    "digits beyond float32": (
        DIGITS,
        {"estimator": "digits", "features": [{"name": "second", "type": "number"}], **REGRESSION, "target": "wave"},
        "it predicts differently on the holdout: by up to ",
    ),
}
"""Code, changes of the model's block, and a part of the reason why it is not compiled."""
PROGRAM = """
import json, pathlib, sys
from runtime import train

for job in sorted(pathlib.Path(sys.argv[1]).glob("*/job.json")):
    train.main(json.loads(job.read_text()))
"""


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Serving]:
    yield from contract_place("process", request)


@pytest.fixture(scope="module")
def trained(place: Serving, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each case, trained in one process in the build's environment: its folder."""
    folder = tmp_path_factory.mktemp("compiling")
    rows = small_data()
    order = np.arange(len(rows)) * 37 % len(rows)
    rows["second"], rows["wave"] = 1.7e9 + order, order % 7 * 10.0  # as float32, only every 128th is another number
    spec, build = build_of(place, {"requirements.txt": "scikit-learn==1.9.1\n"})
    cases = {}
    for name, (code, changes, _) in CASES.items():
        case = cases[name] = folder / name.replace(" ", "-")
        case.mkdir()
        complete = rows.dropna() if code == REGRESSOR_CODE else rows
        job = train_job(case, model_block(case / "code", code, **changes), complete, compile_tolerance=TOLERANCE)
        (case / "job.json").write_text(json.dumps(job), encoding="utf-8")
    engine, log = open_installation().engine, folder.with_suffix(".log")
    done = engine.run(spec, build, ["-W", "ignore", "-c", PROGRAM, str(folder)], writable=folder, log=log)
    assert done.code == 0, done.output_tail
    return cases


@pytest.mark.parametrize("name", CASES)
def test_what_converts_and_agrees_is_compiled_and_the_rest_says_why(trained: dict[str, Path], name: str) -> None:
    expected, out = CASES[name][2], trained[name] / "candidate"
    reason = json.loads((out / "training.json").read_text(encoding="utf-8"))["not_compiled"]
    assert expected in reason and bool(expected) == bool(reason), reason
    assert (out / "model.onnx").exists() == (not expected)
    assert (out / "model.skops").exists()


def test_the_compiled_form_predicts_the_holdout_as_the_estimator_does(trained: dict[str, Path]) -> None:
    for name, (_, _, reason) in CASES.items():
        holdout = pd.read_parquet(trained[name] / "candidate" / "holdout.parquet")
        assert ("compiled" in holdout) == (not reason)
        if not reason:
            assert holdout["compiled"].to_numpy() == pytest.approx(holdout["prediction"].to_numpy(), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "fixture", "features"), [("classifier", CLASSIFIER, FEATURES), ("regressor", REGRESSOR, NUMBERS)]
)
def test_the_files_of_the_unit_tests_are_what_is_compiled(
    trained: dict[str, Path], name: str, fixture: Path, features: Any
) -> None:
    model: Any = {"task": "binary_classification" if name == "classifier" else "regression", "features": features}
    today = CompiledModel((trained[name] / "candidate" / "model.onnx").read_bytes(), model)
    stored = CompiledModel(fixture.read_bytes(), model)
    asked: dict[str, list[Any]] = {
        "distance": [100.0, 550.5, 999.0],
        "night": [True, False, True],
        "origin": ["EWR", None, "nowhere"],
    }
    inputs = {feature["name"]: asked[feature["name"]] for feature in features}
    assert stored.predict(inputs) == pytest.approx(today.predict(inputs), rel=1e-4), f"compile {fixture.name} again"


def test_requirements_that_conflict_with_the_compilers_cost_the_compiler_and_not_the_build(
    place: Serving, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "requirements.txt").write_text("scikit-learn==1.9.1\nprotobuf>=6\n", encoding="utf-8")
    lock = environments.resolve_lock(open_installation().settings, "late", tmp_path, again=True)
    names = {line.partition("==")[0] for line in lock.file.read_text(encoding="utf-8").splitlines() if "==" in line}
    assert {"scikit-learn", "uvicorn"} <= names and not {"skl2onnx", "onnxruntime"} & names
    assert "conflict with those of the compiler" in caplog.text
