"""The parameters that a training reports are few and short, whatever the commit's code says."""

from typing import Any

import numpy as np
import pytest

from include.runtime import train


class Evil(str):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("answer", "reported"),
    [
        ({"a": 1, "b": np.float64(0.5), "c": None, "d": True, "e": "x"}, ["1", "0.5", "None", "True", "x"]),
        ({"a": [1], "b": "x" * 251, "c" * 101: 1, "d": 10**5000, 7: 7, "e": np.ones(1), "f": Evil("f")}, []),
        ({**{f"step__{n:03}": n for n in range(1000)}, "z": "outer first"}, ["outer first", *map(str, range(99))]),
        (ZeroDivisionError(), []),
        (SystemExit(), []),
        (7, []),
    ],
)
def test_few_short_parameters_are_reported_whatever_the_estimator_says(answer: Any, reported: list[str]) -> None:
    """They come from the commit's code: a training must neither fail for them nor report without bounds."""

    class Estimator:
        def get_params(self, deep: bool) -> Any:
            if isinstance(answer, BaseException):
                raise answer
            return answer

    assert list(train.effective_parameters(Estimator()).values()) == reported
