"""An artifact is loaded only when it is the one that was saved, and only when nothing in it can run code."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest, f_classif, mutual_info_classif
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, TunedThresholdClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from include.runtime import artifact
from include.runtime.hashes import file_hash
from include.runtime.jobs import ModelError
from include.runtime.model_code import same_predictions
from tests.conftest import PROJECT

X, Y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2


class Harmful:
    """Unpickled it would run a command."""

    def __reduce__(self) -> Any:
        return os.system, ("echo this must never run >&2",)


def described(*trusted: Any) -> Any:
    return {
        "name": "small",
        "task": "binary_classification",
        "features": [],
        "feature_code": None,
        "trusted_types": trusted,
        "code": str(PROJECT),
    }


def fitted_with(extra: Any = None) -> Any:
    fitted = LogisticRegression().fit(X, Y)
    if extra is not None:
        fitted.extra = extra
    return fitted


@pytest.fixture
def never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        pytest.fail("the file was loaded")

    monkeypatch.setattr(skops.io, "load", load)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        RandomForestClassifier(n_estimators=3),
        HistGradientBoostingClassifier(max_iter=3),
        KNeighborsClassifier(3),
        CalibratedClassifierCV(LogisticRegression(), cv=2),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, scoring="roc_auc", cv=KFold(2, shuffle=True)),
        MLPClassifier(3, max_iter=5),
        MLPClassifier(3, max_iter=5, solver="sgd"),
        GaussianProcessClassifier(RBF() + WhiteKernel()),
        VotingClassifier([("one", LogisticRegression())], voting="soft"),
        StackingClassifier([("one", LogisticRegression())], cv=2),
        TunedThresholdClassifierCV(LogisticRegression(), cv=2),
        make_pipeline(SplineTransformer(), SelectKBest(f_classif, k=1), LogisticRegression()),
        make_pipeline(SelectKBest(mutual_info_classif, k=1), LogisticRegression()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_a_model_predicts_the_same_after_it_was_saved_and_loaded(tmp_path: Path, estimator: Any) -> None:
    estimator.fit(X, Y)
    digest = artifact.save(estimator, tmp_path, described(), {})
    loaded = artifact.load(tmp_path, digest, described())
    assert same_predictions(loaded.predict_proba(X), estimator.predict_proba(X))


def test_what_is_saved_describes_itself(tmp_path: Path) -> None:
    digest = artifact.save(fitted_with(), tmp_path, described(), {"prediction_edges": [0.5, 1]})
    assert digest == file_hash(tmp_path / "model.skops")
    assert dict(artifact.describe(tmp_path)) == {
        "name": "small",
        "task": "binary_classification",
        "sha256": digest,
        "features": [],
        "feature_code": None,
        "trusted_types": [],
        "prediction_edges": [0.5, 1],
    }


def test_a_file_that_was_changed_is_not_loaded(tmp_path: Path, never_loaded: Any) -> None:
    digest = artifact.save(fitted_with(), tmp_path, described(), {})
    with (tmp_path / "model.skops").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelError, match=r"expected .* not loaded. Delete the folder to fetch it again"):
        artifact.load(tmp_path, digest, described())


def test_a_file_that_is_not_there_is_said_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model.skops can't be read \(No such file.* Deploy the version again"):
        artifact.load(tmp_path, "0" * 64, described())


@pytest.mark.parametrize(
    "extra, remedy",
    [
        (Harmful(), "list them in model.yaml under trusted_types"),
        (os.system, "Listing them under trusted_types in model.yaml does not help"),
        (open, "Listing them under trusted_types in model.yaml does not help"),
    ],
    ids=["of ours", "system", "open"],
)
def test_a_type_that_may_run_code_is_neither_saved_nor_loaded_even_with_the_right_hash(
    tmp_path: Path, extra: Any, remedy: str, never_loaded: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=remedy):
        artifact.save(fitted_with(extra), tmp_path, described(), {})
    skops.io.dump(fitted_with(extra), tmp_path / "model.skops")
    with pytest.raises(ModelError, match="types that are not allowed in artifacts"):
        artifact.load(tmp_path, file_hash(tmp_path / "model.skops"), described())
    assert not (tmp_path / "model.json").exists()
    assert "must never run" not in capfd.readouterr().err


def test_a_type_that_the_spec_trusts_is_taken_and_recorded(tmp_path: Path) -> None:
    digest = artifact.save(fitted_with(object()), tmp_path, described("builtins.object"), {})
    assert artifact.describe(tmp_path)["trusted_types"] == ["builtins.object"]
    assert type(artifact.load(tmp_path, digest, described("builtins.object")).extra) is object


SAVING = """
import sys
from pathlib import Path

from include.runtime import artifact

import sklearn.utils
from sklearn.linear_model import LogisticRegression

assert "sklearn.gaussian_process" not in sys.modules, "all of scikit-learn was imported"
assert len(sklearn.utils.all_estimators()) > 100, "it is as it was"
folder, model = Path(sys.argv[1]), {"name": "", "task": "", "features": [], "feature_code": None, "trusted_types": []}
model["code"] = "."
fitted = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
loaded = artifact.load(folder, artifact.save(fitted, folder, model, {}), model)
assert loaded.predict([[1.0]])[0] == 1
fitted.extra = sklearn.datasets.fetch_openml
try:
    artifact.save(fitted, folder, model, {})
except artifact.ModelError as mistake:
    print(mistake)
"""


def test_an_estimator_is_trusted_without_importing_all_of_them_and_nothing_else_of_scikit_learn_is(
    tmp_path: Path,
) -> None:
    """In a process of its own, where nothing has imported skops before."""
    command = [sys.executable, "-c", SAVING, str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "not allowed in artifacts: sklearn.datasets._openml.fetch_openml" in done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "sklearn.datasets._base.load_files",
        "sklearn.datasets._openml.fetch_openml",
        "sklearn.utils._testing.raises",
        "sklearn.externals.array_api_compat.numpy.load",
        "sklearn.metrics.os",
        "sklearn.metrics._classification.warnings.warn",
        "sklearn.metrics._classification.check_array",
        "sklearn.utils.parallel.Parallel",
        "sklearn.utils.metaestimators.available_if",
    ],
)
def test_what_else_scikit_learn_has_is_not_trusted(name: str) -> None:
    assert not artifact._is_trusted_by_its_base(name)


def test_what_skops_can_not_save_is_a_mistake_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"can't be saved \(TypeError: .*generator.* Keep nothing in the fitted"):
        artifact.save(fitted_with(number for number in Y), tmp_path, described(), {})
