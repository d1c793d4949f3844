"""Intervals by resampling agree with the formulas that exist: DeLong's for ROC AUC, Student's for means of blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from include.core.quality.evaluation import compare, figures
from tests.support.specs import model_spec

ROWS, NORMAL = 1500, 1.959964


def sample(seed: int) -> pd.DataFrame:
    """Two correlated scores of the same rows."""
    random = np.random.default_rng(seed)
    late = random.random(ROWS) < 0.3
    shared = late + random.standard_normal(ROWS)
    scores = {name: 1 / (1 + np.exp(-shared - random.standard_normal(ROWS))) for name in ("prediction", "champion")}
    return pd.DataFrame({"late": late.astype(int), "origin": "EWR", **scores})


def components(truth: Any, scores: list[Any]) -> tuple[Any, Any]:
    """The AUC of each of m scores, and their covariance, shapes [m] and [m, m].

    E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, Biometrics 44 (1988), equations 4 to 6.
    """
    positive, negative = [], []
    for score in scores:
        wins = score[truth == 1][:, None] > score[truth == 0][None, :]
        positive.append(wins.mean(axis=1))
        negative.append(wins.mean(axis=0))
    covariance = np.cov(positive) / len(positive[0]) + np.cov(negative) / len(negative[0])
    return np.mean(positive, axis=1), np.atleast_2d(covariance)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_interval_of_an_auc_is_delongs(seed: int) -> None:
    frame = sample(seed)
    truth, score = frame["late"].to_numpy(), frame["prediction"].to_numpy()
    (auc,), covariance = components(truth, [score])
    half = NORMAL * np.sqrt(covariance[0, 0])
    figure = figures(truth, score, ["roc_auc"], resamples=2000)["roc_auc"]
    assert figure.value == pytest.approx(auc)
    assert (figure.low, figure.high) == pytest.approx((auc - half, auc + half), abs=0.15 * half)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_interval_of_a_difference_of_aucs_is_delongs(seed: int) -> None:
    frame = sample(seed)
    spec = model_spec(data={"dependence": "none"}, features=[{"name": "origin", "type": "category"}])
    aucs, covariance = components(
        frame["late"].to_numpy(), [frame[name].to_numpy() for name in ("prediction", "champion")]
    )
    half = NORMAL * np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference = compare(frame, spec, time="at", resamples=2000).overall
    assert difference.value == pytest.approx(aucs[0] - aucs[1])
    assert difference.high - difference.low == pytest.approx(2 * half, rel=0.15)


@pytest.mark.parametrize("blocks", [5, 12, 40])
def test_the_interval_of_a_mean_of_equal_blocks_is_students(blocks: int) -> None:
    random = np.random.default_rng(blocks)
    block = np.repeat(np.arange(blocks), 60)
    errors = np.abs(5 + random.standard_normal(blocks)[block] + 0.2 * random.standard_normal(len(block)))
    means = [errors[block == each].mean() for each in range(blocks)]
    half = t.ppf(0.975, blocks - 1) * np.std(means, ddof=1) / np.sqrt(blocks)
    figure = figures(np.zeros(len(block)), errors, ["mae"], resamples=4000, blocks=block)["mae"]
    assert figure.high - figure.low == pytest.approx(2 * half, rel=0.15)
