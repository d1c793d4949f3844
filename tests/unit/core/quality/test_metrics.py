"""The metrics that no library has in this form, against tables worked out by hand."""

from typing import Any

import numpy as np
import pytest

from include.core.metric_names import CLASSIFICATION_METRICS, HIGHER_IS_BETTER, REGRESSION_METRICS
from include.core.quality.evaluation import figures
from include.core.quality.metrics import prepare
from include.core.spec import ModelSpec

EIGHT = {  # prediction, truth; at 0.5: three hits, one false alarm, one miss, three true rejections
    0.95: 1,
    0.85: 1,
    0.75: 0,
    0.55: 1,
    0.45: 1,
    0.35: 0,
    0.15: 0,
    0.05: 0,
}


def value(metric: Any, truth: Any, prediction: Any, **more: Any) -> Any:
    return figures(truth, prediction, [metric], **more)[metric].value


@pytest.mark.parametrize(
    ("metric", "expected"), [("accuracy", 6 / 8), ("precision", 3 / 4), ("recall", 3 / 4), ("f1", 3 / 4)]
)
def test_threshold_metrics_of_a_small_table(metric: str, expected: Any) -> None:
    assert value(metric, list(EIGHT.values()), list(EIGHT)) == pytest.approx(expected)


def test_the_threshold_itself_counts_as_predicted_true() -> None:
    assert value("precision", [1, 0], [0.7, 0.7], threshold=0.7) == 0.5
    assert value("recall", [1, 1], [0.7, 0.69], threshold=0.7) == 0.5


def test_calibration_error_of_a_small_table() -> None:
    # bin 0.2-0.3: mean 0.25, one of two true: 0.25. bin 0.9-1: mean 0.95, both true: 0.05. Two rows each.
    assert value("calibration_error", [1, 0, 1, 1], [0.2, 0.3 - 1e-9, 0.9, 1.0]) == pytest.approx(0.15)


def test_a_perfectly_calibrated_table_has_no_calibration_error_and_an_interval_that_says_so() -> None:
    prediction, truth = np.repeat([0.25, 0.75], 40), np.tile([1, 0, 0, 0], 10).tolist() + [0, 1, 1, 1] * 10
    found = figures(truth, prediction, ["calibration_error"])["calibration_error"]
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.low == 0


def test_bias_is_above_zero_where_the_model_says_too_much() -> None:
    assert value("bias", [1.0, 2.0], [2.0, 5.0]) == 2.0


def test_error_quantiles_are_those_of_the_resample_as_if_its_rows_stood_there() -> None:
    random = np.random.default_rng(0)
    errors = random.exponential(1, 37)
    counts = np.bincount(random.integers(0, 37, 37), minlength=37).astype(float)
    for metric, share in (("median_absolute_error", 0.5), ("p90_absolute_error", 0.9)):
        measure = prepare(metric, np.zeros(37), errors)
        assert measure(counts) == pytest.approx(np.quantile(np.repeat(errors, counts.astype(int)), share))


@pytest.mark.parametrize("metric", [*CLASSIFICATION_METRICS, *REGRESSION_METRICS])
def test_a_row_that_counts_twice_is_two_rows(metric: Any) -> None:
    random = np.random.default_rng(1)
    truth, prediction = (random.random(40) < 0.4).astype(float), np.round(random.random(40), 1)
    counts = random.integers(0, 4, 40).astype(float)
    counts[:2], truth[:2] = 1, [0, 1]
    rows = np.repeat(np.arange(40), counts.astype(int))
    weighted, repeated = prepare(metric, truth, prediction), prepare(metric, truth[rows], prediction[rows])
    assert weighted(counts) == pytest.approx(repeated(np.ones(len(rows))))


def test_a_perfect_model_is_best_in_the_direction_that_the_metric_points() -> None:
    truth, worse = np.array([0.0, 1.0] * 20), np.array([0.4, 0.6, 0.6, 0.4] * 10)
    for metric in (set(CLASSIFICATION_METRICS) | set(REGRESSION_METRICS)) - {"bias"}:
        best, other = value(metric, truth, truth), value(metric, truth, worse)
        assert (best > other) == (metric in HIGHER_IS_BETTER) and best != other, metric


def test_bias_can_be_reported_but_not_looked_at_by_gates(spec: ModelSpec) -> None:
    values = spec.model_dump(by_alias=True) | {"task": "regression", "metrics": {"primary": "mae", "also": ["bias"]}}
    assert ModelSpec.model_validate(values).metrics.names == ["mae", "bias"]
    with pytest.raises(ValueError, match=r"'bias' has no direction.*metrics\.also"):
        ModelSpec.model_validate(values | {"metrics": {"primary": "bias"}})
