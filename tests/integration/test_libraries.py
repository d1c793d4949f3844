"""Boosting libraries beside scikit-learn: each in its own environment, without listing internals in trusted_types."""

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
from runtime.model_code import same_predictions
import {library}

folder, report = pathlib.Path(sys.argv[1]), {{}}
frame = pd.DataFrame(np.random.RandomState(0).rand(80, 2), columns=["distance", "hour"])
frame.iloc[3, 0] = np.nan
for name, arguments in {estimators}.items():
    target = (frame["hour"] > 0.5).astype(int) if name.endswith("Classifier") else frame["hour"] * 10
    fitted = eval(f"{library}.{{name}}({{arguments}})").fit(frame, target)
    model = {{"name": "small", "task": "regression", "features": [], "feature_code": None, "trusted_types": []}}
    model["code"] = str(folder)
    loaded = artifact.load(folder, artifact.save(fitted, folder, model, {{}}), model)
    ask = "predict_proba" if hasattr(fitted, "predict_proba") else "predict"
    report[name] = same_predictions(getattr(loaded, ask)(frame), getattr(fitted, ask)(frame))
(folder / "report.json").write_text(json.dumps(report))
"""


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Serving]:
    yield from contract_place("process", request.config.cache.mkdir("environments"))


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_estimator_keeps_its_predictions_and_the_contract(place: Serving, tmp_path: Path, library: str) -> None:
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
    assert report == dict.fromkeys(estimators, True)
