"""What is kept: whatever serves, is tried, was made lately, or is judged."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from include.core.build import Build, Lineage
from include.core.release.release import Release
from include.core.release.rollout import Rollout
from include.core.retention import Segment, kept_builds, kept_versions, old_segments, old_windows

NOW = datetime(2026, 11, 27)
NEWEST_FIRST = [str(number) for number in range(20, 0, -1)]


def segment(name: str, days: float = 100, bytes_: int = 10, gathered: int = 10) -> Segment:
    return Segment(name, bytes_, gathered, NOW - timedelta(days=days))


def test_versions_are_kept_that_are_new_serve_stand_by_are_tried_or_have_an_alias() -> None:
    trying = Rollout("run", "4", lease=0.0, step=0, since=0.0)
    releases = [
        Release("m", "production", 3, {"7": 80, "4": 20}, standby=("6",), champion="7", rollout=trying),
        Release("m", "test", 1, {"3": 100}),
    ]
    assert kept_versions(NEWEST_FIRST, releases, ["2"], 3) == {"20", "19", "18", "7", "4", "6", "3", "2"}


@pytest.mark.parametrize("releases", [[], [Release("m", "production")]])
def test_without_a_release_only_the_newest_versions_are_kept(releases: list[Release]) -> None:
    assert kept_versions(NEWEST_FIRST, releases, [], 2) == {"20", "19"}
    assert kept_versions([], releases, [], 2) == set()


def test_builds_are_kept_of_kept_versions_and_the_newest_that_passed() -> None:
    builds = [
        Build("m", "c3-e", "c3", "e", "failed"),
        Build("m", "c2-e", "c2", "e", "passed"),
        Build("m", "c1-e", "c1", "e", "passed"),
    ]
    assert kept_builds([Lineage("m", build="c0-e"), Lineage("m")], builds) == {"c0-e", "c2-e"}
    assert kept_builds([], []) == set()


@pytest.mark.parametrize("name", ["2013-05", "2013-W20", "2013-05-17"])
def test_windows_are_old_some_days_after_their_end_unless_they_are_needed(name: str) -> None:
    assert old_windows([name], set(), NOW, 60) == [name]
    assert old_windows([name], {name}, NOW, 60) == []
    assert old_windows([name], set(), datetime(2013, 6, 1), 60) == []


def test_the_last_moment_of_a_window_counts() -> None:
    assert old_windows(["2013-05"], set(), datetime(2013, 7, 31), 60) == ["2013-05"]
    assert old_windows(["2013-05"], set(), datetime(2013, 7, 30, 23), 60) == []


def test_the_log_is_kept_while_it_is_new_or_not_wholly_in_the_lake() -> None:
    old = segment("1-production@3-1000-9")
    assert old_segments([old], set(), NOW, 30) == [old]
    assert old_segments([segment("1-production@3-1000-9", days=29)], set(), NOW, 30) == []
    assert old_segments([segment("1-production@3-1000-9", gathered=9)], set(), NOW, 30) == []
    assert old_segments([segment("1-production@3-1000-9", gathered=0)], set(), NOW, 30) == []


def test_a_server_that_is_loaded_may_go_on_in_its_newest_file() -> None:
    first, second = segment("1-production@3-999-8"), segment("1-production@3-1000-9")
    other = segment("2-production@4-1001-7")
    assert old_segments([first, second, other], {"1"}, NOW, 30) == [first, other]
    assert old_segments([second, first, other], {"1", "2"}, NOW, 30) == [first]
    assert old_segments([first, second, other], set(), NOW, 30) == [first, second, other]
