"""Boosting libraries beside scikit-learn: each in its own environment, without listing internals in trusted_types.

Their estimators are compiled to ONNX as scikit-learn's are, by themselves and behind an encoder of categories.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.stages import ci
from include.stages.installation import open_installation
from tests.integration.engine_contract import build_of, contract_place
from tests.support.serving import Serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

LIBRARIES: dict[str, tuple[str, dict[str, str]]] = {
    "lightgbm": (
        "lightgbm==4.7.0",
        {"LGBMClassifier": "n_estimators=5, verbose=-1", "LGBMRegressor": "n_estimators=5, verbose=-1"},
    ),
    "xgboost": (
        "xgboost-cpu==3.2.0",
        {
            "XGBClassifier": "n_estimators=5",
            "XGBRegressor": "n_estimators=5",
            "XGBRFClassifier": "n_estimators=5",
            "XGBRFRegressor": "n_estimators=5",
        },
    ),
    "catboost": (
        "catboost==1.2.10",
        {
            "CatBoostClassifier": "iterations=5, verbose=0, allow_writing_files=False",
            "CatBoostRegressor": "iterations=5, verbose=0, allow_writing_files=False",
        },
    ),
}
"""Library → its requirement, and each estimator of the two tasks with its arguments."""
CODE = """
from {library} import {names}


def estimator():
    return {first}({arguments})
"""
SURVEY = """
import json, pathlib, sys
import numpy as np, pandas as pd
from runtime import artifact
from runtime.compiling import NotCompiledError, compile_model
from runtime.model_code import predict, same_predictions
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
import {library}

folder, report = pathlib.Path(sys.argv[1]), {{}}
random = np.random.RandomState(0)
frame = pd.DataFrame(random.rand(400, 2), columns=["distance", "hour"])
frame["origin"] = random.choice(["EWR", "JFK", None], 400)
frame.iloc[3, 0] = np.nan
features = [{{"name": name, "type": "category" if name == "origin" else "number"}} for name in frame]
codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
for name, arguments in {estimators}.items():
    is_classifier = name.endswith("Classifier")
    target = (frame["hour"] > 0.5) ^ (frame["origin"] == "EWR") if is_classifier else frame["hour"] * 10
    alone = eval(f"{library}.{{name}}({{arguments}})")
    encoded = make_column_transformer((codes, ["origin"]), remainder="passthrough")
    encoded = make_pipeline(encoded, eval(f"{library}.{{name}}({{arguments}})"))
    for kind, estimator, known in (("alone", alone, features[:2]), ("behind an encoder", encoded, features)):
        rows = frame[[each["name"] for each in known]]
        fitted = estimator.fit(rows, target.astype(int) if is_classifier else target)
        model = {{"name": "small", "features": known, "feature_code": None, "trusted_types": [], "code": str(folder)}}
        model["task"] = "binary_classification" if is_classifier else "regression"
        expected = predict(model, fitted, rows)
        loaded = artifact.load(folder, artifact.save(fitted, folder, model, {{}}), model)
        found = [same_predictions(predict(model, loaded, rows), expected)]
        try:
            compile_model(loaded, model, rows, expected, 1e-5)
            found.append("compiled")
        except NotCompiledError as error:
            found.append(str(error))
        report[f"{{name}} {{kind}}"] = found
(folder / "report.json").write_text(json.dumps(report))
"""


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Serving]:
    yield from contract_place("process", request)


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_estimator_keeps_its_predictions_and_the_contract_and_is_compiled(
    place: Serving, tmp_path: Path, library: str
) -> None:
    """Fitted, saved, loaded and asked in the build's own environment; the first one through the check of ci, too."""
    requirement, estimators = LIBRARIES[library]
    first, arguments = next(iter(estimators.items()))
    code = CODE.format(library=library, names=", ".join(estimators), first=first, arguments=arguments)
    requirements = f"scikit-learn==1.9.1\n{requirement}\n"
    spec, build = build_of(place, {"model.py": code, "requirements.txt": requirements})

    def run(check: str) -> Any:
        return ci.CHECKS[check](open_installation(), spec, build)

    report = run("check_contract")
    assert report["answer"] == "pass", report
    survey = SURVEY.format(library=library, estimators=estimators)
    done = open_installation().engine.run(
        spec, build, ["-c", survey, str(tmp_path)], writable=tmp_path, log=tmp_path.parent / "survey.log"
    )
    assert done.code == 0, done.output_tail
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    kinds = ("alone", "behind an encoder")
    assert report == {f"{name} {kind}": [True, "compiled"] for name in estimators for kind in kinds}
