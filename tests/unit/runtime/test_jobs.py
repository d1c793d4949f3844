"""Check, train and score: what a good model leaves behind, and that each mistake is told with its remedy."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.runtime import artifact, check, score, train
from include.runtime.hashes import file_hash
from include.runtime.jobs import MISTAKE
from tests.support.small_model import check_job, model_block, score_job, small_data, train_job

pytestmark = pytest.mark.integration

IN_MAY = pd.Timestamp("2013-05-21")
BAD_PREDICTIONS = """
class Strange(LogisticRegression):
    def predict_proba(self, frame):
        return answer(super().predict_proba(frame))


def strange():
    return on_features(Strange())
"""
CODE_MISTAKES = {
    "no such function": ("", {"estimator": "missing"}, "has no function 'missing'. Add it, or rename it."),
    "no such module": ("", {"estimator": "no_such_module:estimator"}, "module 'no_such_module' was not found. Add the"),
    "no such library": ("\nimport no_such_library", {}, "module 'no_such_library' was not found. Add the file"),
    "import raises": ("\n1 / 0", {}, "ZeroDivisionError"),
    "syntax error": ("\ndef", {}, "SyntaxError"),
    "not callable": ("\nanswer = 42", {"estimator": "answer"}, "has no function 'answer'"),
    "unknown parameter": ("", {"parameters": {"D": 1}}, "unexpected keyword argument 'D'"),
    "function raises": ("\ndef broken(): raise OSError('no luck')", {"estimator": "broken"}, "OSError: no luck"),
    "no fit": (
        "\ndef text(): return 'x'",
        {"estimator": "text"},
        "returned str, which has no fit. Return",
    ),
    "no predict_proba": ("", {"estimator": "regressor"}, "returned Pipeline, which has no predict_proba. Return"),
    "fit raises": ("", {"parameters": {"C": -1}}, "fit failed:"),
    "predicts NaN": (
        BAD_PREDICTIONS + "\ndef answer(p): return p * float('nan')",
        {"estimator": "strange"},
        "predictions are not finite. Let the estimator handle missing values.",
    ),
    "predicts one column": (
        BAD_PREDICTIONS + "\ndef answer(p): return p[:, 1]",
        {"estimator": "strange"},
        "rows and two classes",
    ),
    "feature code drops rows": (
        "\ndef drop(frame): return frame.dropna()",
        {"feature_code": "drop"},
        "Return one row per input row.",
    ),
    "feature code returns nothing": (
        "\ndef forget(frame): frame['distance'] = 1",
        {"feature_code": "forget"},
        "returned NoneType. Return a data frame of features.",
    ),
    "feature code raises": (
        "\ndef wrong(frame): return frame['speed']",
        {"feature_code": "wrong"},
        "KeyError: 'speed'",
    ),
    "feature not numeric": (
        "",
        {"features": [{"name": "origin", "type": "number"}]},
        "column 'origin' is not numeric",
    ),
    "feature not in the data": (
        "",
        {"features": [{"name": "speed", "type": "number"}]},
        "columns missing from the data: speed",
    ),
    "types not allowed": (
        BAD_PREDICTIONS + "\ndef answer(p): return p",
        {"estimator": "strange"},
        "list them in model.yaml under trusted_types",
    ),
}
OF_THE_CODE = pytest.mark.parametrize("code, changes, told", CODE_MISTAKES.values(), ids=CODE_MISTAKES)


@pytest.fixture
def trained(tmp_path: Path) -> Any:
    """A trained model: its block, and the hash of its artifact."""
    model = model_block(tmp_path / "code")
    train.main(train_job(tmp_path, model))
    return model, file_hash(tmp_path / "candidate" / "model.skops")


def contract(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "contract.json").read_text(encoding="utf-8"))


def test_a_training_leaves_the_artifact_its_description_and_the_predicted_holdout(tmp_path: Path, run_job: Any) -> None:
    model = model_block(tmp_path / "code", parameters={"C": 0.5})
    assert run_job(train.main, train_job(tmp_path, model)) == (0, "")
    out = tmp_path / "candidate"
    report = json.loads((out / "training.json").read_text(encoding="utf-8"))
    rows = small_data()
    assert report["rows"] == (rows["at"] < IN_MAY).sum()
    assert report["holdout_rows"] == (rows["at"] >= IN_MAY).sum()
    assert report["trained_until"] == rows["at"][rows["at"] < IN_MAY].max().isoformat()
    assert set(report["seconds"]) == {"read", "fit", "score", "compile"}
    assert report["sha256"] == file_hash(out / "model.skops") == artifact.describe(out)["sha256"]
    described = artifact.describe(out)
    assert described["prediction_edges"] == [round(0.05 * edge, 4) for edge in range(1, 21)]
    assert {"scikit-learn", "skops", "numpy"} <= set(described["libraries"])
    holdout = pd.read_parquet(out / "holdout.parquet")
    assert holdout["prediction"].between(0, 1).all() and holdout["prediction"].nunique() > 10
    assert "champion" not in holdout and holdout["late"].notna().all()
    assert artifact.load(out, report["sha256"], model)[-1].C == 0.5
    parameters = report["parameters"]
    assert parameters["logisticregression__C"] == "0.5" and parameters["logisticregression__max_iter"] == "100"
    assert parameters["memory"] == "None" and "steps" not in parameters, "only single values"


def test_a_regression_trains_with_quantiles_of_its_predictions_as_edges(tmp_path: Path, run_job: Any) -> None:
    model = model_block(tmp_path / "code", task="regression", target="delay", estimator="regressor")
    assert run_job(train.main, train_job(tmp_path, model)) == (0, "")
    holdout = pd.read_parquet(tmp_path / "candidate" / "holdout.parquet")
    assert (holdout["prediction"] - holdout["delay"]).abs().median() < 5
    edges = artifact.describe(tmp_path / "candidate")["prediction_edges"]
    assert edges == sorted(set(edges)) and len(edges) == 21
    assert (edges[0], edges[-1]) == (holdout["prediction"].min(), holdout["prediction"].max())


def test_the_champion_predicts_the_same_holdout_beside_the_candidate(
    tmp_path: Path, trained: Any, run_job: Any
) -> None:
    model, sha256 = trained
    champion = {"artifact": str((tmp_path / "candidate").rename(tmp_path / "champion")), "sha256": sha256}
    job = train_job(tmp_path, model | {"parameters": {"C": 1e-6}}, champion=champion)
    assert run_job(train.main, job) == (0, "")
    holdout = pd.read_parquet(tmp_path / "candidate" / "holdout.parquet")
    before = pd.read_parquet(tmp_path / "champion" / "holdout.parquet")
    np.testing.assert_allclose(holdout["champion"], before["prediction"])
    assert not np.allclose(holdout["champion"], holdout["prediction"])


def test_scoring_predicts_as_training_did_and_only_the_span_asked_for(
    tmp_path: Path, trained: Any, run_job: Any
) -> None:
    model, sha256 = trained
    assert run_job(score.main, score_job(tmp_path, model, sha256)) == (0, "")
    scored = pd.read_parquet(tmp_path / "scores" / "scored.parquet").set_index("id")
    assert list(scored.columns) == ["at", "prediction"]
    assert scored["at"].min() >= pd.Timestamp("2013-05-30")
    holdout = pd.read_parquet(tmp_path / "candidate" / "holdout.parquet").set_index("id")
    np.testing.assert_allclose(scored["prediction"], holdout.loc[scored.index, "prediction"])


@pytest.mark.parametrize("sample", ["real", "made up"])
@pytest.mark.parametrize(
    "task", [{}, {"task": "regression", "target": "delay", "estimator": "regressor"}], ids=["classes", "regression"]
)
def test_a_good_model_keeps_the_contract_on_real_rows_and_on_made_up_ones(
    tmp_path: Path, run_job: Any, sample: str, task: Any
) -> None:
    job = check_job(tmp_path, model_block(tmp_path / "code", **task))
    if sample == "made up":
        job["sample"] = []
    assert run_job(check.main, job) == (0, "")
    assert contract(tmp_path)["answer"] == "pass"
    assert {part["answer"] for part in contract(tmp_path)["checks"]} == {"pass"}
    assert "it survives being saved and loaded" in [part["name"] for part in contract(tmp_path)["checks"]]
    assert contract(tmp_path)["parameters"] == {"names": [] if task else ["C"], "any": False}


def test_a_sample_of_a_rare_class_without_any_of_it_keeps_the_contract(tmp_path: Path, run_job: Any) -> None:
    run_job(check.main, check_job(tmp_path, model_block(tmp_path / "code"), small_data().assign(late=0)))
    assert contract(tmp_path)["answer"] == "pass"


def test_a_model_whose_folder_is_gone_is_said_with_the_remedy(tmp_path: Path, run_job: Any) -> None:
    model = model_block(tmp_path / "code") | {"code": "/no/such/folder"}
    ended, message = run_job(train.main, train_job(tmp_path, model))
    assert (ended, message) == (MISTAKE, "the model's folder /no/such/folder does not exist. Run its ci again.\n")


@OF_THE_CODE
def test_a_mistake_in_the_code_ends_the_training_with_the_remedy(
    tmp_path: Path, run_job: Any, code: Any, changes: Any, told: Any
) -> None:
    model = model_block(tmp_path / "code", code, **changes)
    ended, message = run_job(train.main, train_job(tmp_path, model))
    assert (ended, told in message) == (MISTAKE, True), message
    assert not (tmp_path / "candidate" / "training.json").exists()


@OF_THE_CODE
def test_a_mistake_in_the_code_breaks_the_contract_with_the_remedy(
    tmp_path: Path, run_job: Any, code: Any, changes: Any, told: Any
) -> None:
    model = model_block(tmp_path / "code", code, **changes)
    assert run_job(check.main, check_job(tmp_path, model)) == (0, "")
    assert contract(tmp_path)["answer"] == "fail"
    assert told in contract(tmp_path)["reason"]
    assert contract(tmp_path)["checks"][-1] == {
        "name": "the next check",
        "answer": "fail",
        "reason": contract(tmp_path)["reason"],
    }


@pytest.mark.parametrize(
    "code, trusted, told",
    [
        (
            "import random\ndef answer(p): return p * 0 + random.random()",
            [],
            "gave different values. Remove the randomness from predict.",
        ),
        (
            "def answer(p): return p\n"
            "Strange.__getstate__ = lambda self: {**LogisticRegression.__getstate__(self), 'coef_': self.coef_ * 0}",
            ["MODULE.Strange"],
            "differently after being saved and loaded. Use types that skops supports.",
        ),
        (
            "def answer(p): return p if len(p) > 1 else p * float('nan')",
            [],
            "1 of 1 predictions are not finite",
        ),
    ],
    ids=["random", "forgets when saved", "fails on one row"],
)
def test_predictions_that_can_not_be_relied_on_break_the_contract(
    tmp_path: Path, run_job: Any, code: str, trusted: Any, told: str
) -> None:
    model = model_block(tmp_path / "code", BAD_PREDICTIONS + code, estimator="strange", trusted_types=trusted)
    run_job(check.main, check_job(tmp_path, model))
    assert (contract(tmp_path)["answer"], told in contract(tmp_path)["reason"]) == ("fail", True), contract(tmp_path)


@pytest.mark.parametrize(
    "column, values, told",
    [
        ("late", [np.nan] + [0.0, 1.0] * 200, "has missing or infinite values. Leave such rows out of the data."),
        ("late", [np.inf] + [0.0, 1.0] * 200, "has missing or infinite values"),
        ("late", [0], "has the values [0.0]; it must have both 0 and 1, and nothing else."),
        ("late", [1, 2], "has the values [1.0, 2.0]; it must have both 0 and 1"),
        ("late", list(range(400)), "has the values [0.0, 1.0, 2.0, 3.0, 4.0]; it must have both 0 and 1"),
        ("late", ["yes", "no"], "column 'late' is not numeric"),
        ("at", [pd.Timestamp("2013-05-01")], "there are no holdout rows"),
        ("at", [pd.Timestamp("2013-05-30")], "there are no training rows"),
    ],
)
def test_a_mistake_in_the_data_ends_the_training_with_the_remedy(
    tmp_path: Path, run_job: Any, column: str, values: Any, told: str
) -> None:
    rows = small_data()
    rows[column] = (values * len(rows))[: len(rows)]
    ended, message = run_job(train.main, train_job(tmp_path, model_block(tmp_path / "code"), rows))
    assert (ended, told in message) == (MISTAKE, True), message


def test_a_target_that_is_no_number_breaks_the_contract(tmp_path: Path, run_job: Any) -> None:
    run_job(check.main, check_job(tmp_path, model_block(tmp_path / "code"), small_data().assign(late="yes")))
    assert "column 'late' is not numeric" in contract(tmp_path)["reason"]


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"from": "2013-06-01T00:00:00"}, "there are no rows to score from 2013-06-01T00:00:00 until None"),
        ({"sha256": "0" * 64}, "expected 0000"),
        ({"artifact": "/no/such/folder"}, "Deploy the version again."),
    ],
)
def test_a_mistake_ends_the_scoring_with_the_remedy(
    tmp_path: Path, trained: Any, run_job: Any, changes: Any, told: str
) -> None:
    ended, message = run_job(score.main, {**score_job(tmp_path, *trained), **changes})
    assert (ended, told in message) == (MISTAKE, True), message
    assert not (tmp_path / "scores").exists()


@pytest.mark.parametrize(
    "code, told",
    [
        ("def prepare(frame): return frame.assign(distance=float('inf'))", "Input X contains infinity"),
        ("def prepare(frame): return frame.drop(columns='night')", "predict failed:"),
        ("def prepare(frame): return frame.head(1)", "Return one row per input row."),
    ],
)
def test_feature_code_that_breaks_a_trained_model_ends_the_scoring_with_the_remedy(
    tmp_path: Path, trained: Any, run_job: Any, code: str, told: str
) -> None:
    model = model_block(tmp_path / "code", code, feature_code="prepare")
    ended, message = run_job(score.main, score_job(tmp_path, model, trained[1]))
    assert (ended, told in message) == (MISTAKE, True), message


def test_predictions_that_are_not_finite_end_the_scoring_and_leave_no_scores(
    tmp_path: Path, run_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = BAD_PREDICTIONS + "def answer(p): return p"
    model = model_block(tmp_path / "code", code, estimator="strange", trusted_types=["MODULE.Strange"])
    train.main(train_job(tmp_path, model))
    sha256 = file_hash(tmp_path / "candidate" / "model.skops")
    monkeypatch.setattr(sys.modules[model["estimator"].partition(":")[0]], "answer", lambda given: given * np.nan)
    ended, message = run_job(score.main, score_job(tmp_path, model, sha256))
    assert (ended, "predictions are not finite" in message) == (MISTAKE, True), message
    assert not (tmp_path / "scores").exists()


STACKED = """
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.svm import SVC


def stacked():
    return on_features(StackingClassifier([("one", LogisticRegression()), ("two", LogisticRegression(C=0.1))]))


def soft():
    return on_features(VotingClassifier([("one", LogisticRegression())], voting="soft"))


def hard():
    return on_features(VotingClassifier([("one", LogisticRegression())], voting="hard"))


def machine():
    return on_features(SVC())
"""


@pytest.mark.parametrize("estimator", ["stacked", "soft"])
def test_an_estimator_that_knows_what_it_predicts_only_once_fitted_keeps_the_contract(
    tmp_path: Path, estimator: str
) -> None:
    check.main(check_job(tmp_path, model_block(tmp_path / "code", STACKED, estimator=estimator)))
    report = json.loads((tmp_path / "contract.json").read_text())
    assert report["answer"] == "pass", report


@pytest.mark.parametrize("estimator", ["hard", "machine"])
def test_one_without_probabilities_breaks_it_with_the_remedy(tmp_path: Path, estimator: str) -> None:
    check.main(check_job(tmp_path, model_block(tmp_path / "code", STACKED, estimator=estimator)))
    report = json.loads((tmp_path / "contract.json").read_text())
    assert report["answer"] == "fail"
    assert "returned Pipeline, which has no predict_proba. Return an unfitted" in report["reason"]
