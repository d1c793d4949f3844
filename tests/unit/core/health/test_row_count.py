"""A window with far fewer or more predictions than earlier ones is said; what is usual, or unknown, is not."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from include.core.health.row_count import judge_row_count

STEADY = [1000, 1100, 950, 1020, 980, 1050]


def finding(rows: int, earlier: list[int], over: bool = True) -> str | None:
    found = judge_row_count(rows, earlier, over=over)
    json.dumps(asdict(found), allow_nan=False)
    assert found.rows == rows
    assert not (found.finding and found.not_judged)
    return found.finding


def test_a_window_as_large_as_others_is_usual() -> None:
    found = judge_row_count(1030, STEADY, over=True)
    assert (found.finding, found.not_judged, found.windows) == (None, None, 6)
    assert found.low < 1000 < found.median * 1.01 < found.high


@pytest.mark.parametrize(("rows", "word"), [(0, "few"), (1, "few"), (400, "few"), (2500, "many")])
def test_far_fewer_and_far_more_rows_are_a_sentence(rows: int, word: str) -> None:
    expected = f"unusually {word} predictions: {rows}; the median of 6 earlier windows is 1010 (usual: 505 to 2019)"
    assert finding(rows, STEADY).startswith(expected)


def test_what_is_certain_but_less_than_half_or_double_does_not_matter() -> None:
    assert finding(1_500_000, [1_000_000] * 6) is None
    assert finding(2_100_000, [1_000_000] * 6)


def test_one_odd_window_before_does_not_hide_the_next() -> None:
    assert finding(300, [*STEADY, 12, 90_000])


def test_windows_that_always_differ_allow_more() -> None:
    assert finding(300, [200, 5000, 900, 2500, 400, 1100]) is None


def test_a_handful_of_rows_varies_by_chance() -> None:
    assert finding(1, [4, 4, 4, 4, 4, 4]) is None


def test_before_its_end_and_with_few_earlier_windows_it_says_why_it_does_not_judge() -> None:
    assert judge_row_count(3, STEADY, over=False).not_judged == "the window is not over"
    assert "5 earlier windows" in judge_row_count(3, STEADY[:4], over=True).not_judged
    assert finding(3, STEADY[:5])


def test_only_the_newest_windows_say_what_is_usual() -> None:
    assert finding(1000, [10] * 50 + [1000] * 12) is None


def test_false_alarms_are_as_rare_as_the_module_says() -> None:
    random = np.random.default_rng(0)
    counts = np.exp(math.log(1000) + random.normal(0, 0.2, (4000, 6))).round().astype(int).tolist()
    alarms = sum(bool(finding(rows, earlier)) for *earlier, rows in counts)
    assert alarms < 4000 / 300
