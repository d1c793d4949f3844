"""Windows of different grains: after monitoring.window has changed, a model's history has both."""

from typing import get_args

import pytest

from include.core.errors import DataError
from include.core.windows import Grain, grain_of, in_grain, key_length


@pytest.mark.parametrize(
    ("key", "grain", "same"),
    [
        ("2013-W20", "month", "2013-05"),
        ("2013-W20", "day", "2013-05-13"),
        ("2013-05", "week", "2013-W18"),
        ("2013-05-17", "month", "2013-05"),
        ("2013-05-17", "week", "2013-W20"),
        ("2015-W01", "month", "2014-12"),
        ("2013-05", "month", "2013-05"),
    ],
)
def test_a_window_of_another_grain_is_the_one_in_which_it_begins(key: str, grain: Grain, same: str) -> None:
    assert in_grain(key, grain) == same


def test_keys_tell_their_grain_and_no_two_grains_have_keys_of_the_same_length() -> None:
    assert [grain_of(key) for key in ("2013-05", "2013-W20", "2013-05-17")] == ["month", "week", "day"]
    assert len({key_length(grain) for grain in get_args(Grain)}) == len(get_args(Grain))


@pytest.mark.parametrize("key", ["May", "2013", "2013-5", "2013-05-17T00"])
def test_what_is_no_window_is_refused_with_examples(key: str) -> None:
    with pytest.raises(DataError, match="2013-W20"):
        grain_of(key)
