"""Promotion: a candidate replaces the champion only when it is shown to be better on rows that neither has seen."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.core.quality.evaluation import compare, evaluate
from include.core.quality.figures import Difference, Evaluation, QualityFigure
from include.core.quality.promotion import holdout_start, judge_promotion
from include.core.spec import ModelSpec

NEWEST = datetime(2013, 5, 31, 23)


def measured(value: Any, rows: Any = 5000, slices: Any = None) -> Any:
    of_slices = {name: {"roc_auc": QualityFigure(v, n=n)} for name, (v, n) in (slices or {}).items()}
    return Evaluation({"roc_auc": QualityFigure(value, n=rows)}, of_slices)


def better_by(value: Any, low: Any) -> Any:
    return Difference(value, low, value + (value - low), n=5000)


def test_a_clearly_better_candidate_is_promoted(spec: ModelSpec) -> None:
    assert judge_promotion(spec, measured(0.75), measured(0.70), better_by(0.05, 0.03)).answer == "pass"


@pytest.mark.parametrize("low", [0.0, -0.0001, -0.2])
def test_a_candidate_not_shown_to_be_better_is_not_promoted(spec: ModelSpec, low: float) -> None:
    verdict = judge_promotion(spec, measured(0.75), measured(0.74), better_by(0.01, low))
    assert verdict.answer == "fail"
    assert "not shown to be better" in verdict.reason


def test_one_better_row_of_five_hundred_does_not_make_a_better_model(spec: ModelSpec) -> None:
    """A lower bound of exactly 0 says that chance explains the difference; it used to be enough."""
    values = {**spec.model_dump(by_alias=True), "metrics": {"primary": "accuracy"}, "promotion": {}}
    accuracy = type(spec).model_validate(values)
    truth = np.random.default_rng(0).random(500) < 0.3
    frame = pd.DataFrame({"late": truth.astype(float), "champion": 0.1, "prediction": 0.1})
    frame.loc[np.flatnonzero(truth)[0], "prediction"] = 0.9
    difference = compare(frame, accuracy).overall
    assert difference.value == pytest.approx(0.002)
    assert difference.low == 0.0
    candidate, champion = (evaluate(frame, accuracy, prediction=name) for name in ("prediction", "champion"))
    assert judge_promotion(accuracy, candidate, champion, difference).answer == "fail"


def test_a_worse_candidate_is_not_promoted(spec: ModelSpec) -> None:
    assert judge_promotion(spec, measured(0.60), measured(0.70), better_by(-0.1, -0.12)).answer == "fail"


def test_the_first_model_ever_needs_no_champion(spec: ModelSpec) -> None:
    assert judge_promotion(spec, measured(0.70), None, None).answer == "pass"


def test_the_first_model_still_has_to_reach_the_threshold(spec: ModelSpec) -> None:
    assert judge_promotion(spec, measured(0.52), None, None).answer == "fail"


@pytest.mark.parametrize(
    "candidate, champion, difference",
    [
        (measured(None), measured(0.7), better_by(0.1, 0.05)),
        (measured(0.8), measured(None), better_by(0.1, 0.05)),
        (measured(0.8), measured(0.7), None),
        (measured(0.8), measured(0.7), Difference(None, None, None, n=5000)),
        (measured(0.8, rows=10), measured(0.7, rows=10), better_by(0.1, 0.05)),
        (measured(0.8, slices={"origin=EWR": (None, 900)}), measured(0.7), better_by(0.1, 0.05)),
    ],
)
def test_a_missing_measurement_never_promotes(spec: ModelSpec, candidate: Any, champion: Any, difference: Any) -> None:
    assert judge_promotion(spec, candidate, champion, difference).answer == "fail"


def test_a_slice_that_gets_much_worse_stops_the_promotion(spec: ModelSpec) -> None:
    mine = measured(0.75, slices={"origin=EWR": (0.60, 900)})
    theirs = measured(0.70, slices={"origin=EWR": (0.70, 900)})
    verdict = judge_promotion(spec, mine, theirs, better_by(0.05, 0.03))
    assert verdict.answer == "fail"
    assert "origin=EWR" in verdict.reason


def test_a_small_slice_is_reported_but_not_judged(spec: ModelSpec) -> None:
    mine = measured(0.75, slices={"origin=EWR": (0.60, 20)})
    theirs = measured(0.70, slices={"origin=EWR": (0.70, 20)})
    assert judge_promotion(spec, mine, theirs, better_by(0.05, 0.03)).answer == "pass"


def test_the_holdout_is_the_newest_days() -> None:
    assert holdout_start(NEWEST, 7, None) == NEWEST - timedelta(days=7)
    assert holdout_start(NEWEST, 7, NEWEST - timedelta(days=60)) == NEWEST - timedelta(days=7)


def test_the_holdout_begins_after_what_the_champion_was_trained_on() -> None:
    trained = NEWEST - timedelta(days=2)
    assert holdout_start(NEWEST, 7, trained) > trained


@pytest.mark.parametrize("improvement", [0.0, -0.01])
@pytest.mark.parametrize("rounding", [0.0, 1e-12, -1e-12])
def test_a_candidate_that_is_the_champion_again_is_not_better(
    spec: ModelSpec, rounding: float, improvement: float
) -> None:
    policy = spec.promotion.model_copy(update={"improvement": improvement})
    same = Difference(rounding, rounding, rounding, n=5000)
    verdict = judge_promotion(spec.model_copy(update={"promotion": policy}), measured(0.7), measured(0.7), same)
    assert verdict.answer == "fail"
    assert "no difference" in verdict.reason


def test_a_small_difference_that_is_no_chance_is_one(spec: ModelSpec) -> None:
    assert judge_promotion(spec, measured(0.7001), measured(0.7), better_by(0.0001, 0.00005)).answer == "pass"


@pytest.mark.parametrize(
    ("threshold", "value", "answer", "words"),
    [
        (None, 0.9, "fail", "Set promotion.threshold"),
        (0.6, 0.9, "pass", "reaches promotion.threshold 0.6; the champion can't be compared: its column is gone"),
        (0.6, 0.5, "fail", "worse than the threshold"),
        (0.6, None, "fail", "could not be measured"),
    ],
)
def test_without_a_comparison_only_a_threshold_lets_a_candidate_pass(
    spec: ModelSpec, threshold: Any, value: Any, answer: str, words: str
) -> None:
    policy = spec.promotion.model_copy(update={"threshold": threshold})
    judged = spec.model_copy(update={"promotion": policy})
    verdict = judge_promotion(judged, measured(value), None, None, incomparable="its column is gone")
    assert verdict.answer == answer
    assert words in verdict.reason
