"""Promotion: a candidate replaces the champion only when it is shown to be better on rows that neither has seen."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.core.quality.evaluation import compare, evaluate
from include.core.quality.figures import Comparison, Difference, Evaluation, QualityFigure
from include.core.quality.promotion import holdout_start, judge_promotion
from include.core.spec import ModelSpec

NEWEST = datetime(2013, 5, 31, 23)


def measured(value: Any, rows: Any = 5000) -> Any:
    return Evaluation({"roc_auc": QualityFigure(value, n=rows)})


def difference(value: Any, low: Any, rows: int = 5000) -> Difference:
    return Difference(value, low, value + (value - low), n=rows)


def better_by(value: Any, low: Any, **slices: Difference) -> Comparison:
    return Comparison("roc_auc", difference(value, low), slices)


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
    compared = compare(frame, accuracy, time="at")
    assert compared.overall.value == pytest.approx(0.002)
    assert compared.overall.low == 0.0
    candidate, champion = (evaluate(frame, accuracy, prediction=name, time="at") for name in ("prediction", "champion"))
    assert judge_promotion(accuracy, candidate, champion, compared).answer == "fail"


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
        (measured(0.8), measured(0.7), Comparison("roc_auc", Difference(None, None, None, n=5000), {})),
        (measured(0.8, rows=10), measured(0.7, rows=10), better_by(0.1, 0.05)),
    ],
)
def test_a_missing_measurement_never_promotes(spec: ModelSpec, candidate: Any, champion: Any, difference: Any) -> None:
    assert judge_promotion(spec, candidate, champion, difference).answer == "fail"


def test_a_slice_that_gets_much_worse_stops_the_promotion(spec: ModelSpec) -> None:
    compared = better_by(0.05, 0.03, EWR=Difference(-0.10, -0.13, -0.07, n=900))
    verdict = judge_promotion(spec, measured(0.75), measured(0.70), compared)
    assert verdict.answer == "fail"
    assert "slice EWR is worse than with the champion by 0.1000 [+0.0700, +0.1300]" in verdict.reason


def test_a_slice_that_may_be_worse_by_chance_only_does_not(spec: ModelSpec) -> None:
    """A drop of 0.1 in few rows used to refuse candidates that were better everywhere."""
    compared = better_by(0.05, 0.03, EWR=Difference(-0.10, -0.25, 0.05, n=250))
    assert judge_promotion(spec, measured(0.75), measured(0.70), compared).answer == "pass"


def test_the_more_slices_the_clearer_one_of_them_must_be_worse(spec: ModelSpec) -> None:
    """Just beyond chance as the only slice, and not among thirty."""
    odd = Difference(-0.10, -0.149, -0.051, n=900)
    fine = {f"s{number}": difference(0.05, 0.01) for number in range(29)}
    assert judge_promotion(spec, measured(0.75), measured(0.70), better_by(0.05, 0.03, odd=odd)).answer == "fail"
    assert judge_promotion(spec, measured(0.75), measured(0.70), better_by(0.05, 0.03, odd=odd, **fine)).passed


def test_a_slice_that_can_not_be_judged_is_named_and_fails_nothing(spec: ModelSpec) -> None:
    """One of few rows, and one with a single class: whether all rows together are better is judged all the same."""
    slices = {"few": Difference(-0.3, -0.31, -0.29, n=20), "one class": Difference(None, None, None, n=900)}
    verdict = judge_promotion(spec, measured(0.75), measured(0.70), better_by(0.05, 0.03, **slices))
    assert verdict.passed
    assert verdict.signals["slices_not_judged"] == ["few", "one class"]


def test_a_candidate_that_is_better_in_every_slice_is_seldom_refused(spec: ModelSpec) -> None:
    """Thirty slices of 200 rows: point estimates alone refused two of three such candidates."""
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        found = 0.01 + 0.05 * random.standard_normal(30)
        slices = {f"s{n}": Difference(x, x - 0.098, x + 0.098, n=200) for n, x in enumerate(found)}
        refused += not judge_promotion(spec, measured(0.75), measured(0.70), better_by(0.05, 0.03, **slices)).passed
    assert refused <= 10


def test_too_few_rows_of_a_class_promote_nothing(spec: ModelSpec) -> None:
    figure = QualityFigure(0.9, n=5000, fewest=19)
    verdict = judge_promotion(spec, Evaluation({"roc_auc": figure}), measured(0.7), better_by(0.2, 0.1))
    assert verdict.answer == "fail"
    assert "only 19 holdout rows of the rarer class; at least 20 of each class are required" in verdict.reason


def test_rows_of_one_day_promote_nothing(spec: ModelSpec) -> None:
    alone = Comparison("roc_auc", Difference(0.05, None, None, n=5000, reason="all rows are of one day"), {})
    verdict = judge_promotion(spec, measured(0.75), measured(0.70), alone)
    assert verdict.answer == "fail"
    assert "all rows are of one day. Raise training.holdout_days" in verdict.reason


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
    same = Comparison("roc_auc", Difference(rounding, rounding, rounding, n=5000), {})
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
