"""Limits are what chance does: they hold the accepted rate of false alarms, and errors are real standard errors."""

from typing import Any

import numpy as np
import pytest

from include.core.drift import divergence
from include.core.drift.limits import JudgedColumn, limits, sampling_errors


def psi(expected: Any, found: Any) -> Any:
    return {"psi": divergence.psi(expected, found)}


def test_scores_without_drift_exceed_the_limits_about_as_often_as_accepted() -> None:
    random = np.random.default_rng(0)
    shares, alarms, repeats = np.full(10, 0.1), 0, 200
    for _ in range(repeats):
        columns = {
            str(n): JudgedColumn(random.multinomial(4000, shares) * 1.0, random.multinomial(700, shares) * 1.0, psi)
            for n in range(5)
        }
        allowed = limits(columns, 0.1)
        alarms += any(psi(c.expected, c.observed)["psi"] > allowed[n]["psi"] for n, c in columns.items())
    assert alarms / repeats == pytest.approx(0.1, abs=0.06)  # three standard errors of 200 repeats


def test_the_same_counts_have_the_same_limits() -> None:
    column = {"x": JudgedColumn(np.array([500.0, 500.0]), np.array([50.0, 60.0]), psi)}
    assert limits(column, 0.05) == limits(column, 0.05)


def test_without_columns_there_are_no_limits() -> None:
    assert limits({}, 0.05) == {}


def test_the_sampling_error_is_the_spread_of_the_score_over_repeated_samples() -> None:
    random = np.random.default_rng(1)
    before, now = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.3, 0.3])
    drawn = [
        divergence.psi(
            *(random.multinomial(rows, shares).astype(float) for rows, shares in ((5000, before), (900, now)))
        )
        for _ in range(2000)
    ]
    error = sampling_errors(before * 5000, now * 900, psi)["psi"]
    assert error == pytest.approx(np.std(drawn), rel=0.15)
