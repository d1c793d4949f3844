"""Figures of quality are right, honest about what can't be measured, and fast."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics

from include.adapters.spec_file import load_spec
from include.core.errors import DataError
from include.core.metric_names import CLASSIFICATION_METRICS, REGRESSION_METRICS
from include.core.quality.evaluation import compare, evaluate, figures
from include.core.quality.figures import QualityFigure
from include.core.quality.resampling import wilson
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
    spec = load_spec(MODELS / "flights" / "model.yaml")
    return spec.model_copy(update={"data": spec.data.model_copy(update={"dependence": "none"})})


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
    found = evaluate(gaps, flights, seed=3, time="at")
    assert found.quality["roc_auc"].n == 200
    assert found.quality["roc_auc"] == evaluate(rows.iloc[1::2], flights, seed=3, time="at").quality["roc_auc"]


def test_slices_are_measured_by_themselves_and_missing_values_are_a_slice(flights: ModelSpec) -> None:
    rows = sample(900)
    rows.loc[:99, "origin"] = None
    found = evaluate(rows, flights, time="at").slices
    assert set(found) == {"origin=EWR", "origin=JFK", "origin=LGA", "origin=missing"}
    assert sum(part["roc_auc"].n for part in found.values()) == 900
    part = rows[rows.origin == "EWR"]
    assert found["origin=EWR"]["roc_auc"].value == pytest.approx(
        sklearn_metrics.roc_auc_score(part.late, part.prediction)
    )


def test_a_missing_column_is_named(flights: ModelSpec) -> None:
    with pytest.raises(DataError, match="origin"):
        evaluate(sample(10).drop(columns="origin"), flights, time="at")


def test_comparison_is_positive_when_the_candidate_is_better_whichever_way_the_metric_points(
    flights: ModelSpec,
) -> None:
    rows = sample(3000)
    for metric in ("roc_auc", "log_loss"):
        spec = flights.model_copy(update={"metrics": flights.metrics.model_copy(update={"primary": metric})})
        found = compare(rows, spec, time="at")
        assert found.metric == metric
        overall = found.overall
        assert 0 < overall.low < overall.value < overall.high
        assert overall.value == pytest.approx(abs(overall.candidate - overall.champion))
        assert compare(
            rows, spec, time="at", candidate="champion", champion="prediction"
        ).overall.value == pytest.approx(-overall.value)


def test_pairing_narrows_the_interval_of_a_difference(flights: ModelSpec) -> None:
    rows = sample(2000).assign(champion=lambda f: np.clip(f.prediction + 0.01, 0.01, 0.99))
    found = compare(rows, flights, time="at").overall
    alone = figures(rows.late, rows.prediction, ["roc_auc"])["roc_auc"]
    assert found.high - found.low < 0.2 * (alone.high - alone.low)


def test_comparison_of_one_class_has_a_reason_instead_of_a_value(flights: ModelSpec) -> None:
    rows = sample(50).assign(late=True)
    difference = compare(rows, flights, time="at").overall
    assert difference.value is None
    assert "one class" in difference.reason


def test_roc_auc_with_200_resamples_on_20000_rows_takes_under_a_second() -> None:
    rows = sample(20_000)
    start = time.perf_counter()
    figures(rows.late, rows.prediction, ["roc_auc"])
    assert time.perf_counter() - start < 1.0


def days_of_flights(days: int, rows: int, seed: int, *, day_effect: float) -> pd.DataFrame:
    """Rows of as many days; what is peculiar to a day moves all its rows, and both models' errors differ by the day."""
    random = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), rows)
    weather, one, other = (day_effect * random.standard_normal(days)[day] for _ in range(3))
    signal = random.standard_normal(days * rows)
    late = random.random(days * rows) < 1 / (1 + np.exp(1 - signal - weather))

    def score(own: Any) -> Any:
        return 1 / (1 + np.exp(1 - signal - own - 0.5 * random.standard_normal(days * rows)))

    at = (
        pd.Timestamp("2013-05-01")
        + pd.to_timedelta(day, unit="D")
        + pd.to_timedelta(random.integers(0, 24, len(day)), "h")
    )
    return pd.DataFrame({"late": late, "prediction": score(one), "champion": score(other), "at": at, "origin": "EWR"})


def by_day(flights: ModelSpec) -> ModelSpec:
    return flights.model_copy(update={"data": flights.data.model_copy(update={"dependence": "day"})})


def test_equal_models_seldom_seem_to_differ_though_each_day_is_a_world_of_its_own(flights: ModelSpec) -> None:
    """Nominal 2.5 %. Rows drawn one by one found a "better" model in a quarter of the cases."""
    seemed = {"none": 0, "day": 0}
    for seed in range(60):
        frame = days_of_flights(7, 150, seed, day_effect=0.6)
        for name, spec in {"none": flights, "day": by_day(flights)}.items():
            low = compare(frame, spec, time="at").overall.low
            seemed[name] += low is not None and low > 0
    assert seemed["day"] <= 4
    assert seemed["none"] >= 8, "the days are too much alike to show anything"


def test_a_clear_difference_is_still_found(flights: ModelSpec) -> None:
    frame = days_of_flights(14, 150, 0, day_effect=0.4)
    frame["champion"] = np.random.default_rng(0).random(len(frame))
    found = compare(frame, by_day(flights), time="at").overall
    assert found.low is not None and found.low > 0.05


def test_independent_rows_have_about_the_same_interval_either_way(flights: ModelSpec) -> None:
    frame = days_of_flights(100, 50, 3, day_effect=0.0)
    rows, days = (evaluate(frame, spec, time="at").quality["roc_auc"] for spec in (flights, by_day(flights)))
    assert rows.value == days.value
    assert (days.high - days.low) / (rows.high - rows.low) == pytest.approx(1, abs=0.35)


def test_rows_of_a_single_day_have_values_without_intervals_and_the_reason(flights: ModelSpec) -> None:
    frame = days_of_flights(1, 500, 0, day_effect=0.4)
    figure = evaluate(frame, by_day(flights), time="at").quality["roc_auc"]
    assert figure.value is not None and (figure.low, figure.high) == (None, None)
    found = compare(frame, by_day(flights), time="at").overall
    assert found.value is not None and found.low is None
    assert "all rows are of one day" in str(found.reason)


def test_rows_with_the_same_value_of_a_column_are_drawn_together(flights: ModelSpec) -> None:
    """Each row ten times: the interval must be that of the rows once, not one a third as wide."""
    once = sample(300).assign(session=np.arange(300))
    often = pd.concat([once] * 10)
    values = {**flights.model_dump(mode="json", by_alias=True), "data": {**flights.data.model_dump(mode="json")}}
    values["features"] = [*values["features"], {"name": "session", "type": "integer"}]
    values["data"]["dependence"] = "session"
    spec = ModelSpec.model_validate(values)
    alone, repeated = (evaluate(rows, spec, time="at").quality["brier"] for rows in (once, often))
    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low, rel=0.25)


def test_many_condensed_rows_have_the_interval_of_their_days(flights: ModelSpec) -> None:
    frame = days_of_flights(20, 3_000, 5, day_effect=0.5)
    many = evaluate(frame, by_day(flights), time="at").quality
    few = evaluate(frame.iloc[::2], by_day(flights), time="at").quality
    for metric in ("roc_auc", "log_loss", "brier"):
        widths = [figures[metric].high - figures[metric].low for figures in (many, few)]
        assert widths[0] == pytest.approx(widths[1], rel=0.3), metric
        assert many[metric].low < many[metric].value < many[metric].high


@pytest.mark.parametrize(("hits", "said"), [(3, 3), (0, 4), (50, 50)])
def test_a_share_of_all_or_no_rows_is_not_certain(hits: int, said: int) -> None:
    """Three hits of three had the interval from 1 to 1."""
    truth = np.array([1.0] * hits + [0.0] * (said - hits) + [1.0, 0.0] * 30)
    prediction = np.array([0.9] * said + [0.1] * 60)
    found = figures(truth, prediction, ["precision"])["precision"]
    assert found.high - found.low > 0.05
    assert found.low <= found.value <= found.high


@given(st.integers(1, 400), st.integers(0, 400))
def test_intervals_of_shares_are_wilsons(rows: int, hits: int) -> None:
    hits = min(hits, rows)
    expected = binomtest(hits, rows).proportion_ci(0.95, "wilson")
    assert wilson(hits / rows, rows, 0.95, (0.0, 1.0), independent=True) == pytest.approx((expected.low, expected.high))
