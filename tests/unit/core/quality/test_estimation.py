"""Estimates before truth are those of NannyML and of tables worked out by hand, and say how sure they are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.core.metric_names import CLASSIFICATION_METRICS
from include.core.quality.estimation import (
    CalibrationMap,
    against_truth,
    build_estimator,
    calibrated,
    calibration_map,
    estimate,
    expected,
    with_measured_errors,
)
from include.core.quality.evaluation import evaluate, figures
from include.core.quality.figures import QualityFigure
from include.core.spec import ModelSpec
from tests.support.specs import columns, model_spec
from tests.unit.core.quality.cbpe_by_nannyml import CASES, sample

NANNYML = json.loads((Path(__file__).parent / "cbpe_by_nannyml.json").read_text(encoding="utf-8"))["cases"]
AS_IT_SAYS: CalibrationMap = {"scores": [0.0, 1.0], "counts": [1e9, 1e9], "positives": [0.0, 1e9]}
"""The map of a model that is calibrated already."""


def value(score: Any, metric: Any, estimator: Any = AS_IT_SAYS, threshold: Any = 0.5) -> Any:
    return expected(estimator, np.array(score), [metric], threshold, 0.95)[metric].value


@pytest.mark.parametrize("case", CASES)
def test_cbpe_agrees_with_nannyml(case: Any) -> None:
    bend, shift = CASES[case]
    holdout, window = sample(1, 0.0, bend), sample(2, shift, bend)
    kept = calibration_map(holdout.score.to_numpy(), holdout.truth.to_numpy(dtype=float))
    for metric, theirs in NANNYML[case]["estimates"].items():
        # NannyML's map has a step for every holdout row; ours, kept without the rows, at most 200 bins.
        assert value(window.score, metric, kept) == pytest.approx(theirs, abs=0.005), metric


@pytest.mark.parametrize("case", [case for case, (bend, _) in CASES.items() if bend != 1])
def test_cbpe_is_near_the_truth_where_the_models_own_probabilities_are_far_off(case: Any) -> None:
    bend, shift = CASES[case]
    holdout, window = sample(1, 0.0, bend), sample(2, shift, bend)
    kept = calibration_map(holdout.score.to_numpy(), holdout.truth.to_numpy(dtype=float))
    true = figures(window.truth, window.score, ["roc_auc"], resamples=1)["roc_auc"].value
    assert value(window.score, "roc_auc", kept) == pytest.approx(true, abs=0.01)
    assert abs(value(window.score, "roc_auc") - true) > 0.1


@pytest.mark.parametrize(
    ("metric", "by_hand"),
    [
        ("accuracy", (0.9 + 0.6 + 0.8) / 3),
        ("precision", (0.9 + 0.6) / 2),
        ("recall", (0.9 + 0.6) / (0.9 + 0.6 + 0.2)),
        ("f1", 2 * 1.5 / (1.7 + 2)),
        ("brier", (0.9 * 0.1 + 0.6 * 0.4 + 0.2 * 0.8) / 3),
        ("log_loss", -sum(p * np.log(p) + (1 - p) * np.log(1 - p) for p in (0.9, 0.6, 0.2)) / 3),
        # of all pairs of one true and one false row, by weight, those in the right order; the row with itself: half
        ("roc_auc", (0.9 * (0.05 + 0.4 + 0.8) + 0.6 * (0.2 + 0.8) + 0.2 * 0.4) / (1.7 * 1.3)),
    ],
)
def test_expected_metrics_of_three_calibrated_predictions(metric: str, by_hand: Any) -> None:
    assert value([0.9, 0.6, 0.2], metric) == pytest.approx(by_hand)


def test_the_calibration_map_pools_what_is_out_of_order() -> None:
    score = np.repeat([0.1, 0.3, 0.5, 0.9], 20)
    truth = np.concatenate([np.arange(20) < hits for hits in (2, 10, 6, 18)]).astype(float)
    kept = calibration_map(score, truth)
    assert kept["scores"] == pytest.approx([0.1, 0.4, 0.9])
    assert (kept["counts"], kept["positives"]) == ([20, 40, 20], [2, 16, 18])
    assert calibrated(kept, np.array([0.0, 0.25, 0.9, 1.0])) == pytest.approx([0.1, 0.25, 0.9, 0.9])


def test_the_map_never_falls_and_keeps_no_more_blocks_than_bins() -> None:
    holdout = sample(3, 0.0, 2.0)
    kept = calibration_map(holdout.score.to_numpy(), holdout.truth.to_numpy(dtype=float))
    assert (np.diff(calibrated(kept, np.linspace(0, 1, 500))) >= 0).all()
    assert len(kept["scores"]) <= 200
    assert sum(kept["counts"]) == len(holdout)


def test_a_smaller_holdout_and_a_smaller_window_make_the_interval_wider() -> None:
    def width(holdout_rows: int, rows: int) -> float:
        holdout = sample(4, 0.0, 2.0).iloc[:holdout_rows]
        kept = calibration_map(holdout.score.to_numpy(), holdout.truth.to_numpy(dtype=float))
        found = expected(kept, sample(5, 0.0, 2.0).score.to_numpy()[:rows], ["brier"], 0.5, 0.95)["brier"]
        assert found.low < found.value < found.high
        return found.high - found.low

    assert width(500, 5000) > width(10_000, 5000)
    assert width(10_000, 300) > width(10_000, 5000)


def test_what_comes_true_lies_inside_the_interval_about_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(100):
        holdout, window = (sample(1000 * part + seed, 0.0, 2.0).iloc[:1000] for part in (1, 2))
        kept = calibration_map(holdout.score.to_numpy(), holdout.truth.to_numpy(dtype=float))
        found = expected(kept, window.score.to_numpy(), ["brier"], 0.5, 0.9, seed=seed)["brier"]
        true = float(((window.score - window.truth) ** 2).mean())
        inside += found.low <= true <= found.high
    assert 0.82 <= inside / 100 <= 0.97


@pytest.mark.parametrize(
    ("estimator", "score", "metric", "reason"),
    [
        (AS_IT_SAYS, [], "roc_auc", "no predictions"),
        (AS_IT_SAYS, [0.1, 0.2], "precision", "no prediction reaches"),
        (AS_IT_SAYS, [0.1, 1.2], "brier", "not probabilities"),
        ({"scores": [0.5], "counts": [9], "positives": [9]}, [0.1], "brier", "only one class"),
    ],
)
def test_what_cannot_be_estimated_has_no_value_and_a_reason(
    estimator: Any, score: Any, metric: str, reason: str
) -> None:
    found = expected(estimator, np.array(score), [metric], 0.5, 0.95)[metric]
    assert found.value is found.low is found.high is None
    assert reason in found.reason


def test_one_prediction_gives_figures_and_no_exception() -> None:
    found = expected(AS_IT_SAYS, np.array([0.5]), list(CLASSIFICATION_METRICS), 0.5, 0.95)
    assert found["accuracy"].value == pytest.approx(0.5)


def test_the_same_seed_gives_the_same_estimate(spec: ModelSpec) -> None:
    frame = sample(6, 0.0, 1.0).rename(columns={"score": "prediction", "truth": "late"})
    kept = json.loads(json.dumps(build_estimator(frame, spec)))
    assert estimate(kept, frame, spec, seed=1) == estimate(kept, frame, spec, seed=1)
    assert estimate(kept, frame, spec, seed=1) != estimate(kept, frame, spec, seed=2)


def test_a_holdout_without_truth_gives_no_estimator(spec: ModelSpec) -> None:
    assert build_estimator(pd.DataFrame({"prediction": [0.1], "late": [None]}), spec) is None


def test_after_truth_the_estimate_stands_beside_what_came_true() -> None:
    estimated = {
        "roc_auc": QualityFigure(0.8, 0.78, 0.82, 10),
        "brier": QualityFigure(0.2, 0.18, 0.22, 10),
        "f1": QualityFigure(None, n=10, reason="x"),
    }
    measured = {"roc_auc": QualityFigure(0.75), "brier": QualityFigure(0.21), "f1": QualityFigure(0.1)}
    found = against_truth(estimated, measured)
    assert set(found) == {"roc_auc", "brier"}
    assert found["roc_auc"].difference == pytest.approx(-0.05)
    assert (found["roc_auc"].inside, found["brier"].inside) == (False, True)


# Intervals made of measured errors

ESTIMATED = {"roc_auc": QualityFigure(0.8, 0.79, 0.81, 900), "f1": QualityFigure(None, n=9, reason="x")}


@pytest.mark.parametrize("count", [0, 9])
def test_an_estimate_has_no_interval_before_ten_errors_are_measured(count: int) -> None:
    """The interval of chance in the labels once said 95 %, and held the actual value of 2 to 50 % of real weeks."""
    quality, made_of = with_measured_errors(ESTIMATED, {"roc_auc": [-0.03] * count})
    assert (quality["roc_auc"].value, quality["roc_auc"].low, quality["roc_auc"].high) == (0.8, None, None)
    assert made_of == {}


@pytest.mark.parametrize(("errors", "made_of"), [([-0.03] * 10, 10), ([0.5] * 28 + [-0.03, 0.02] * 6, 12)])
def test_then_it_reaches_as_far_as_the_largest_of_the_newest_errors(errors: list[float], made_of: int) -> None:
    quality, known = with_measured_errors(ESTIMATED, {"roc_auc": errors, "f1": errors})
    assert known == {"roc_auc": made_of}
    assert [quality["roc_auc"].low, quality["roc_auc"].high] == pytest.approx([0.77, 0.83])
    assert quality["f1"].value is None


def test_an_interval_is_never_narrower_than_chance_in_the_labels() -> None:
    quality, _ = with_measured_errors({"roc_auc": QualityFigure(0.8, 0.6, 0.9, 20)}, {"roc_auc": [0.01] * 12})
    assert (quality["roc_auc"].low, quality["roc_auc"].high) == (0.6, 0.9)


def test_of_exchangeable_errors_twelve_in_thirteen_are_inside() -> None:
    random, inside = np.random.default_rng(0), 0
    for _ in range(4000):
        errors = random.standard_t(3, 13)
        quality, _ = with_measured_errors({"mae": QualityFigure(5.0)}, {"mae": errors[:12].tolist()})
        low, high = quality["mae"].low, quality["mae"].high
        assert low is not None and high is not None
        inside += low <= 5 + errors[12] <= high
    assert inside / 4000 == pytest.approx(12 / 13, abs=0.015)


# Direct loss estimation


REGRESSION = model_spec(
    task="regression",
    target="bikes",
    features=columns(hour="number", weather="category", holiday="boolean"),
    metrics={"also": ["rmse", "r2"]},
    data={"dependence": "none"},
)


def bikes(rows: int, seed: int, rain: float = 0.2) -> pd.DataFrame:
    """Errors are 10 times as large in rain, and twice as large in the second half of the day."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "hour": random.integers(0, 24, rows).astype(float),
            "weather": np.where(random.random(rows) < rain, "rain", "dry"),
            "holiday": random.random(rows) < 0.1,
            "prediction": random.normal(100, 30, rows),
        }
    )
    size = np.where(frame.weather == "rain", 10.0, 1.0) * np.where(frame.hour >= 12, 2.0, 1.0)
    frame["bikes"] = frame.prediction + size * random.standard_normal(rows)
    frame.loc[::50, "hour"] = np.nan
    return frame


def loss_tree(holdout: pd.DataFrame) -> Any:
    """The estimator of a regression."""
    tree = build_estimator(holdout, REGRESSION)
    assert tree is not None and tree["method"] == "dle"
    return tree


def test_the_loss_tree_sees_a_shift_to_harder_rows_before_truth() -> None:
    tree = json.loads(json.dumps(build_estimator(bikes(4000, 1), REGRESSION)))
    assert tree["method"] == "dle"
    for rain in (0.2, 0.6):
        window = bikes(4000, 2, rain)
        found = estimate(tree, window.drop(columns="bikes"), REGRESSION)
        true = evaluate(window, REGRESSION, time="at").quality
        for metric in ("mae", "rmse"):
            assert found[metric].value == pytest.approx(true[metric].value, rel=0.1)
            assert found[metric].low < true[metric].value < found[metric].high
    assert "can't be estimated" in found["r2"].reason


def test_the_estimated_error_lies_inside_its_interval_about_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(100):
        tree = loss_tree(bikes(1000, 1000 + seed))
        window = bikes(500, 2000 + seed)
        found = estimate(tree, window, REGRESSION)["mae"]
        inside += found.low <= (window.bikes - window.prediction).abs().mean() <= found.high
    assert inside / 100 >= 0.88


def test_the_same_rows_from_a_log_and_from_a_file_fall_into_the_same_leaves() -> None:
    tree, window = loss_tree(bikes(2000, 3)), bikes(200, 4)
    logged = pd.DataFrame(json.loads(window.to_json(orient="records")))
    assert estimate(tree, logged, REGRESSION) == estimate(tree, window, REGRESSION)


@pytest.mark.parametrize("rows", [1, 10, 130])
def test_few_rows_and_unknown_values_still_give_a_finite_error(rows: int) -> None:
    tree = loss_tree(bikes(rows, 5))
    window = bikes(50, 6).assign(weather="snow", hour=np.nan)
    found = estimate(tree, window, REGRESSION)["mae"]
    assert all(figure is not None and np.isfinite(figure) for figure in (found.value, found.low, found.high))
    assert estimate(tree, window.iloc[:0], REGRESSION)["mae"].reason == "no predictions"
