"""A compiled model serves only if it was shown to predict the same."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.core.quality.compiled import largest_difference, why_not_compiled
from tests.support.specs import model_spec

SPEC = model_spec(training={"compile_tolerance": 1e-4})


def holdout(compiled: Any = None, *, rows: Any = 100, **changes: Any) -> pd.DataFrame:
    random = np.random.default_rng(0)
    predicted = random.uniform(0.01, 0.99, rows)
    frame = pd.DataFrame({SPEC.target: (random.random(rows) < predicted).astype(int), "prediction": predicted})
    return frame.assign(compiled=predicted if compiled is None else compiled(predicted), **changes)


def test_the_same_predictions_may_serve() -> None:
    assert why_not_compiled(SPEC, holdout()) == ""
    assert why_not_compiled(SPEC, holdout(lambda values: values + 1e-9)) == ""


@pytest.mark.parametrize(
    ("compiled", "said"),
    [
        (lambda values: np.where(np.arange(len(values)) == 7, values + 2e-4, values), "by up to 0.0002 on the holdout"),
        (lambda values: np.where(np.arange(len(values)) == 7, np.nan, values), "by up to inf"),
        (lambda values: values[::-1], "predicts differently"),
    ],
)
def test_one_row_that_differs_is_enough(compiled: Any, said: str) -> None:
    reason = why_not_compiled(SPEC, holdout(compiled))
    assert said in reason and "training.compile_tolerance" in reason


def test_predictions_that_are_close_but_rank_otherwise_do_not_serve() -> None:
    frame = holdout(rows=20).assign(prediction=np.linspace(0.5, 0.50001, 20), compiled=np.linspace(0.50001, 0.5, 20))
    assert " instead of " in why_not_compiled(SPEC, frame)


def test_what_can_not_be_measured_is_never_a_pass() -> None:
    assert "no holdout" in why_not_compiled(SPEC, holdout().head(0))
    assert "can't be measured" in why_not_compiled(SPEC, holdout(**{SPEC.target: 1}))
    assert "can't be measured" in why_not_compiled(SPEC, holdout(**{SPEC.target: np.nan}))


def test_the_difference_of_large_predictions_is_in_proportion() -> None:
    assert largest_difference(np.array([1e6]), np.array([1e6 + 1])) == pytest.approx(1e-6)
    assert largest_difference(np.array([0.5, np.inf]), np.array([0.5, 1.0])) == np.inf
