"""When the Dag files are parsed again."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from evergreen.models_bundle import PAUSE, ParseRequests

LOOK = 10.0
"""Seconds between two looks, as the Dag processor refreshes its bundle."""


def requests(states: list[int], complete: list[bool] | None = None, parse_seconds: float = 0.0) -> list[int]:
    """The looks, of one each ten seconds, after which the files are requested."""
    decides, made = ParseRequests(asked=0.0), []
    for number, state in enumerate(states):
        if decides.due(number * LOOK, state, complete[number] if complete else True, parse_seconds):
            decides.done(number * LOOK)
            made.append(number)
    return made


def test_what_does_not_change_is_not_parsed_again() -> None:
    assert requests([7] * 100) == []


def test_a_change_is_requested_at_once_and_again_later() -> None:
    """Again, since Airflow drops a request for a file that it is just parsing."""
    assert requests([7] * 5 + [8] * 20) == [5, 8]


def test_a_change_just_after_the_start_waits_for_the_first_parse() -> None:
    assert requests([7] + [8] * 20) == [3, 6]


def test_changes_all_the_time_are_requested_once_a_pause() -> None:
    assert requests(list(range(13))) == [3, 6, 9, 12]


def test_a_request_waits_until_the_one_before_is_done() -> None:
    """Files that are requested go first: the last ones in the queue would never be parsed."""
    assert requests(list(range(20)), parse_seconds=30.0) == [6, 12, 18]
    assert requests([7] * 20, [False] * 20, parse_seconds=30.0) == [6, 12, 18]


def test_missing_dags_are_requested_until_they_are_there() -> None:
    assert requests([7] * 20, [True] * 5 + [False] * 10 + [True] * 5) == [5, 8, 11, 14]


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60))
def test_no_change_is_forgotten_and_none_is_asked_for_too_often(looks: list[tuple[int, bool]]) -> None:
    states, complete = [state for state, _ in looks], [whole for _, whole in looks]
    quiet = 8
    made = requests(states + states[-1:] * quiet, complete + [True] * quiet)
    assert all(later - earlier >= PAUSE / LOOK for earlier, later in pairwise(made))
    changes = [number for number in range(1, len(states)) if states[number] != states[number - 1]]
    for change in changes:
        assert sum(request >= change for request in made) >= 2
