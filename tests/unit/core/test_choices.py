"""What the forms suggest: the newest, with what a person wants to know, and a value that comes out again unchanged."""

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.build import Build
from include.core.choices import (
    AT_MOST,
    LONGEST,
    Choices,
    RegisteredVersion,
    build_choices,
    data_choices,
    release_choices,
    value_of,
    version_choices,
    window_choices,
)
from include.core.release.rollback import EarlierRelease
from tests.support.health_rows import health_row

DAY = 86_400.0


def test_a_version_is_suggested_with_promotions_answer_and_its_day() -> None:
    versions = [
        RegisteredVersion("3", "hold", 2 * DAY),
        RegisteredVersion("2", "pass", DAY),
        RegisteredVersion("1", "", 0),
    ]
    assert version_choices(versions) == (
        "3 · refused by promotion (hold) · 1970-01-03",
        "2 · passed promotion · 1970-01-02",
        "1 · not judged by promotion · 1970-01-01",
    )


def test_a_rollback_is_suggested_with_the_days_in_which_the_version_served() -> None:
    assert release_choices([EarlierRelease("2", DAY, 3 * DAY)]) == ("2 · in production from 1970-01-02 to 1970-01-04",)


def test_only_builds_that_passed_are_suggested() -> None:
    builds = [
        Build("m", "c-1", "c", "e", "passed", run_id="asset_triggered__2013-05-17T10:00:00+00:00_x"),
        Build("m", "b-1", "b", "e", "failed", run_id="manual__2013-05-16T10:00:00+00:00"),
        Build("m", "a-1", "a", "e", "passed", run_id="by hand"),
    ]
    assert build_choices(builds) == ("c-1 · 2013-05-17", "a-1")


def test_windows_are_suggested_newest_first_with_their_state() -> None:
    rows = [health_row("2013-04", 0.7), replace(health_row("2013-05", 0.7), problem="unreadable")]
    assert window_choices(rows) == ("2013-05 · could not be measured", f"2013-04 · {rows[0].status}")
    assert data_choices({"2013-04", "2013-05"}) == ("2013-05", "2013-04")
    assert window_choices([]) == ()


def test_windows_of_a_grain_that_is_no_longer_measured_are_not_suggested() -> None:
    rows = [replace(health_row("2013-04", 0.7), recorded=1.0), replace(health_row("2013-W20", 0.7), recorded=2.0)]
    assert [value_of(text) for text in window_choices(rows)] == ["2013-W20"]


@given(st.lists(st.integers(1, 10**6), max_size=60))
def test_a_form_suggests_few_and_each_gives_its_version_back(numbers: list[int]) -> None:
    texts = version_choices(RegisteredVersion(str(number), "x" * 500, 0) for number in numbers)
    assert [value_of(text) for text in texts] == [str(number) for number in numbers[:AT_MOST]]
    assert all(len(text) <= LONGEST for text in texts)


@given(st.text(alphabet="0123456789abcW-"))
def test_what_is_no_suggestion_is_a_value_as_it_is(text: str) -> None:
    assert value_of(text) == text
    assert value_of(f"  {text} ") == text


@pytest.mark.parametrize("damaged", [None, 3, "3", {"a": 1}, [3], ["x" * (LONGEST + 1)], [["3"]]])
def test_a_damaged_part_suggests_nothing_and_the_others_stay(damaged: Any) -> None:
    assert Choices.from_dict({"versions": damaged, "builds": ["a-1"], "more": 1}) == Choices(builds=("a-1",))


def test_too_many_suggestions_are_cut_and_none_is_repeated() -> None:
    assert len(Choices.from_dict({"data": [str(number) for number in range(1000)]}).data) == AT_MOST
    assert Choices.from_dict({"data": ["1", "1"]}).data == ("1",)


def test_suggestions_survive_the_trip_through_json() -> None:
    choices = Choices(("3",), ("2", "1"), ("a-1",), ("2013-05",), ("2013-05 · complete",))
    assert Choices.from_dict({part: list(texts) for part, texts in asdict(choices).items()}) == choices
