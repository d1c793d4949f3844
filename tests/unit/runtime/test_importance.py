"""Permutation importance names the features that a model depends on, whatever the model's code does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from include.runtime import importance
from include.runtime.importance import feature_importances

NAMES = ("near", "far", "noise")


def model(task: str) -> Any:
    """What the runtime knows of a model with three numbers."""
    features = [{"name": name, "type": "number"} for name in NAMES]
    return {"features": features, "feature_code": None, "target": "y", "task": task, "estimator": "model:estimator"}


def rows(count: int = 4_000) -> pd.DataFrame:
    random = np.random.default_rng(1)
    frame = pd.DataFrame({name: random.normal(size=count) for name in NAMES})
    return frame.assign(y=2 * frame["near"] + frame["far"])


def test_the_rise_of_the_loss_is_shared_by_the_features_that_cause_it() -> None:
    """Shuffling x with coefficient c raises the squared error by twice c² times its variance: 4 to 1 here."""
    frame = rows()
    fitted = LinearRegression().fit(frame[list(NAMES)], frame["y"])
    shares = feature_importances(model("regression"), fitted, frame)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert shares["near"] == pytest.approx(0.8, abs=0.04)
    assert shares["noise"] == 0
    assert shares == feature_importances(model("regression"), fitted, frame), "the same rows give the same shares"


def test_a_classifiers_loss_is_that_of_its_probabilities() -> None:
    frame = rows()
    frame["y"] = (frame["y"] > 0).astype(int)
    fitted = LogisticRegression().fit(frame[list(NAMES)], frame["y"])
    shares = feature_importances(model("binary_classification"), fitted, frame)
    assert shares["near"] > shares["far"] > 0.1
    assert shares["noise"] < 0.01


def test_rows_without_truth_are_left_out_and_few_rows_are_enough() -> None:
    frame = rows(30)
    fitted = LinearRegression().fit(frame[list(NAMES)], frame["y"])
    frame.loc[3, "y"] = np.nan
    assert feature_importances(model("regression"), fitted, frame)["near"] > 0.5


class Constant:
    def predict(self, frame: pd.DataFrame) -> Any:
        return np.zeros(len(frame))


class Picky:
    """Fails on rows that never were: what a shuffle makes."""

    def predict(self, frame: pd.DataFrame) -> Any:
        if not np.allclose(2 * frame["near"] + frame["far"], self.known[: len(frame)]):
            raise SystemExit("no such row")
        return np.zeros(len(frame))

    known = np.empty(0)


class Infinite:
    def predict(self, frame: pd.DataFrame) -> Any:
        return np.full(len(frame), np.inf)


def test_a_model_that_depends_on_nothing_has_shares_of_zero() -> None:
    assert feature_importances(model("regression"), Constant(), rows(100)) == dict.fromkeys(NAMES, 0.0)


@pytest.mark.parametrize("fitted", [Picky(), Infinite(), object()])
def test_a_model_that_fails_on_shuffled_rows_has_none_and_the_training_goes_on(fitted: Any) -> None:
    with np.errstate(invalid="ignore"):
        assert feature_importances(model("regression"), fitted, rows(100)) == {}


def test_a_model_that_is_too_slow_has_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importance, "SECONDS", 0.0)
    assert feature_importances(model("regression"), Constant(), rows(100)) == {}
    assert "too slow" in capsys.readouterr().out
