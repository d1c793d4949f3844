"""Predictions of the same rows are the same, but for what a sum in another order changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from include.runtime.model_code import estimator_parameters, same_predictions
from tests.support.small_model import model_block

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


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def made(a, b=1, *, c=2): ...", {"names": ["a", "b", "c"], "any": False}),
        ("def made(): ...", {"names": [], "any": False}),
        ("def made(a=1, **more): ...", {"names": ["a"], "any": True}),
        ("def made(a=1, /, b=2, *rest): ...", {"names": ["b"], "any": False}),
        ("class made:\n    def __init__(self, depth=3): ...", {"names": ["depth"], "any": False}),
        ("import functools\nmade = functools.partial(lambda a, b=1: 0, b=2)", {"names": ["a", "b"], "any": False}),
        (
            "import functools\ndef inner(a=1): ...\n@functools.wraps(inner)\ndef made(**more): ...",
            {"names": [], "any": True},
        ),
        ("made = dict", None),
        (
            "class Hostile:\n    def __call__(self): ...\n"
            "    @property\n    def __signature__(self): raise SystemError\nmade = Hostile()",
            None,
        ),
    ],
)
def test_the_parameters_of_an_estimator_function_are_those_that_may_be_given_by_name(
    tmp_path: Path, code: str, expected: Any
) -> None:
    assert estimator_parameters(model_block(tmp_path / "code", code, estimator="made")) == expected
