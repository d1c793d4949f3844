"""Figures of quality are right, honest about what can't be measured, and fast."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from include.adapters.spec_file import load_spec
from include.core.errors import DataError
from include.core.metric_names import CLASSIFICATION_METRICS, REGRESSION_METRICS
from include.core.quality.evaluation import compare, evaluate, figures
from include.core.quality.figures import QualityFigure
from include.core.spec import ModelSpec

MODELS = Path(__file__).resolve().parents[4] / "include" / "models"
REFERENCES = {
    "roc_auc": sklearn_metrics.roc_auc_score,
    "pr_auc": sklearn_metrics.average_precision_score,
    "log_loss": sklearn_metrics.log_loss,
    "brier": sklearn_metrics.brier_score_loss,
    "mae": sklearn_metrics.mean_absolute_error,
    "rmse": sklearn_metrics.root_mean_squared_error,
    "r2": sklearn_metrics.r2_score,
    "accuracy": lambda truth, p: sklearn_metrics.accuracy_score(truth, p >= 0.5),
    "precision": lambda truth, p: sklearn_metrics.precision_score(truth, p >= 0.5),
    "recall": lambda truth, p: sklearn_metrics.recall_score(truth, p >= 0.5),
    "f1": lambda truth, p: sklearn_metrics.f1_score(truth, p >= 0.5),
    "calibration_error": lambda truth, p: sum(
        part.size / p.size * abs(p[part.index].mean() - truth[part.index].mean())
        for _, part in pd.Series(np.minimum(np.floor(p * 10), 9)).groupby(np.minimum(np.floor(p * 10), 9))
    ),
    "bias": lambda truth, p: np.mean(p - truth),
    "median_absolute_error": sklearn_metrics.median_absolute_error,
    "p90_absolute_error": lambda truth, p: np.quantile(np.abs(truth - p), 0.9),
}


@pytest.fixture
def flights() -> ModelSpec:
    return load_spec(MODELS / "flights" / "model.yaml")


def sample(rows: int, seed: int = 1) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    late = random.random(rows) < 0.25
    prediction = np.round(np.clip(0.3 + 0.2 * late + 0.2 * random.standard_normal(rows), 0.01, 0.99), 2)
    champion = np.clip(prediction + 0.2 * random.standard_normal(rows), 0.01, 0.99)
    origin = random.choice(["EWR", "JFK", "LGA"], rows)
    return pd.DataFrame({"late": late, "prediction": prediction, "champion": champion, "origin": origin})


@pytest.mark.parametrize("metric", CLASSIFICATION_METRICS)
def test_classification_metrics_agree_with_scikit_learn_with_ties(metric: Any) -> None:
    rows = sample(3000)
    found = figures(rows.late, rows.prediction, [metric])[metric]
    assert found.value == pytest.approx(REFERENCES[metric](rows.late, rows.prediction))
    assert found.low < found.value < found.high
    assert found.n == 3000


@pytest.mark.parametrize("metric", REGRESSION_METRICS)
def test_regression_metrics_agree_with_scikit_learn(metric: Any) -> None:
    random = np.random.default_rng(2)
    truth = random.standard_normal(2000) * 10
    prediction = truth + random.standard_normal(2000)
    found = figures(truth, prediction, [metric])[metric]
    assert found.value == pytest.approx(REFERENCES[metric](truth, prediction))
    assert found.low <= found.value <= found.high


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    covered = 0
    for seed in range(200):
        errors = np.random.default_rng(seed).exponential(1.0, 300)  # the true mean absolute error is 1
        found = figures(np.zeros(300), errors, ["mae"], seed=seed)["mae"]
        covered += found.low <= 1.0 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    rows = sample(500)
    first, again, other = (figures(rows.late, rows.prediction, ["roc_auc"], seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first["roc_auc"].low != other["roc_auc"].low


@pytest.mark.parametrize(
    ("truth", "prediction", "metric", "reason"),
    [
        ([], [], "roc_auc", "no rows with ground truth"),
        ([None, float("nan")], [0.1, 0.2], "brier", "no rows with ground truth"),
        ([1, 1], [0.1, 0.2], "roc_auc", "only one class"),
        ([False, False], [0.1, 0.2], "pr_auc", "only one class"),
        ([0, 2], [0.1, 0.2], "roc_auc", "other than 0 and 1"),
        (["yes", "no"], [0.1, 0.2], "brier", "not a finite number"),
        ([0, 1], [0.1, float("nan")], "roc_auc", "missing or not finite"),
        ([0, 1], [0.1, 7.0], "log_loss", "not probabilities"),
        ([0, 1], [0.1, 7.0], "calibration_error", "not probabilities"),
        ([0, 1], [0.1, 0.2], "precision", "no prediction reaches"),
        ([0, 0], [0.1, 0.7], "recall", "no row is true"),
        ([0, 0], [0.1, 0.2], "f1", "no row is true or predicted true"),
        ([3.0, 3.0], [1.0, 2.0], "r2", "single value"),
        ([3.0, float("inf")], [1.0, 2.0], "mae", "not a finite number"),
    ],
)
def test_what_cannot_be_measured_has_no_value_and_a_reason(
    truth: Any, prediction: Any, metric: str, reason: str
) -> None:
    found = figures(truth, prediction, [metric])[metric]
    assert found.value is found.low is found.high is None
    assert reason in found.reason


def test_one_row_has_a_value_but_no_interval() -> None:
    assert figures([2.0], [1.0], ["mae"])["mae"] == QualityFigure(1.0, n=1)


def test_rows_without_truth_are_left_out_of_value_and_count(flights: ModelSpec) -> None:
    rows = sample(400)
    gaps = rows.assign(late=rows.late.astype("object"))
    gaps.loc[::2, "late"] = None
    found = evaluate(gaps, flights, seed=3)
    assert found.quality["roc_auc"].n == 200
    assert found.quality["roc_auc"] == evaluate(rows.iloc[1::2], flights, seed=3).quality["roc_auc"]


def test_slices_are_measured_by_themselves_and_missing_values_are_a_slice(flights: ModelSpec) -> None:
    rows = sample(900)
    rows.loc[:99, "origin"] = None
    found = evaluate(rows, flights).slices
    assert set(found) == {"origin=EWR", "origin=JFK", "origin=LGA", "origin=missing"}
    assert sum(part["roc_auc"].n for part in found.values()) == 900
    part = rows[rows.origin == "EWR"]
    assert found["origin=EWR"]["roc_auc"].value == pytest.approx(
        sklearn_metrics.roc_auc_score(part.late, part.prediction)
    )


def test_a_missing_column_is_named(flights: ModelSpec) -> None:
    with pytest.raises(DataError, match="origin"):
        evaluate(sample(10).drop(columns="origin"), flights)


def test_comparison_is_positive_when_the_candidate_is_better_whichever_way_the_metric_points(
    flights: ModelSpec,
) -> None:
    rows = sample(3000)
    for metric in ("roc_auc", "log_loss"):
        spec = flights.model_copy(update={"metrics": flights.metrics.model_copy(update={"primary": metric})})
        found = compare(rows, spec)
        assert found.metric == metric
        overall = found.overall
        assert 0 < overall.low < overall.value < overall.high
        assert overall.value == pytest.approx(abs(overall.candidate - overall.champion))
        assert compare(rows, spec, "champion", "prediction").overall.value == pytest.approx(-overall.value)


def test_pairing_narrows_the_interval_of_a_difference(flights: ModelSpec) -> None:
    rows = sample(2000).assign(champion=lambda f: np.clip(f.prediction + 0.01, 0.01, 0.99))
    found = compare(rows, flights).overall
    alone = figures(rows.late, rows.prediction, ["roc_auc"])["roc_auc"]
    assert found.high - found.low < 0.2 * (alone.high - alone.low)


def test_comparison_of_one_class_has_a_reason_instead_of_a_value(flights: ModelSpec) -> None:
    rows = sample(50).assign(late=True)
    difference = compare(rows, flights).overall
    assert difference.value is None
    assert "one class" in difference.reason


def test_roc_auc_with_200_resamples_on_20000_rows_takes_under_a_second() -> None:
    rows = sample(20_000)
    start = time.perf_counter()
    figures(rows.late, rows.prediction, ["roc_auc"])
    assert time.perf_counter() - start < 1.0
