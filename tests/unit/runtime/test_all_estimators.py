"""Every classifier and regressor of scikit-learn fits, is saved and loaded without a list of its internals."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.utils import all_estimators

from include.runtime import artifact
from include.runtime.model_code import same_predictions
from tests.conftest import PROJECT

SEVERAL_TARGETS = {
    "CCA",
    "ClassifierChain",
    "MultiOutputClassifier",
    "MultiOutputRegressor",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "PLSCanonical",
    "RegressorChain",
}
"""Predict more than one value a row, which no task of Evergreen does; they are saved all the same."""
ONE_FEATURE = {"IsotonicRegression"}
KINDS = ("classifier", "regressor")
X = np.random.RandomState(0).rand(60, 3)
TARGETS = {"classifier": (X[:, 0] > 0.5).astype(int), "regressor": X[:, 0] + 1}


def instance(kind: str, name: str) -> Any:
    """The estimator with its defaults; what it needs is a linear model."""
    found: dict[str, type[BaseEstimator]] = dict(all_estimators(type_filter=kind))
    inner = LogisticRegression() if kind == "classifier" else LinearRegression()
    takes: dict[str, Any] = {"estimator": inner, "estimators": [("inner", inner)]}
    takes |= {"param_grid": {}, "param_distributions": {}}
    required = inspect.Parameter.empty, None
    parameters = inspect.signature(found[name]).parameters
    return found[name](
        **{each: takes[each] for each in takes if each in parameters and parameters[each].default in required}
    )


NAMES = [(kind, name) for kind in KINDS for name, _ in all_estimators(type_filter=kind)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "name"), NAMES, ids=[f"{name} ({kind})" for kind, name in NAMES])
def test_it_predicts_the_same_after_it_was_saved_and_loaded(tmp_path: Path, kind: str, name: str) -> None:
    model: Any = {
        "name": "small",
        "task": "binary_classification" if kind == "classifier" else "regression",
        "features": [],
        "feature_code": None,
        "trusted_types": [],
        "code": str(PROJECT),
    }
    features, target = X[:, :1] if name in ONE_FEATURE else X, TARGETS[kind]
    fitted = instance(kind, name).fit(features, np.c_[target, target] if name in SEVERAL_TARGETS else target)
    loaded = artifact.load(tmp_path, artifact.save(fitted, tmp_path, model, {}), model)
    assert same_predictions(loaded.predict(features), fitted.predict(features))


def test_scikit_learn_has_as_many_as_ever() -> None:
    """An empty list would pass as well."""
    assert len(NAMES) > 90
