"""Predictions of the same rows are the same, but for what a sum in another order changes."""

import numpy as np
import pytest

from include.runtime.model_code import same_predictions

PRICES = np.array([1.2e9, 0.0, -3.4e9])


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ([1.4367382020127895], [1.4367382020127897], True),
        (PRICES * (1 + 1e-12), PRICES, True),
        ([1.2e9, 1e-3, -3.4e9], PRICES, True),
        ([1.2e9, 1e3, -3.4e9], PRICES, False),
        ([0.5, 0.50001], [0.5, 0.5], False),
        ([0.0, 0.0], [0.0, 0.0], True),
        ([np.nan], [0.5], False),
        ([], [], True),
    ],
)
def test_only_roundings_may_differ(first: list[float], second: list[float], same: bool) -> None:
    assert same_predictions(np.asarray(first), np.asarray(second)) is same
