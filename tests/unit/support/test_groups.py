"""What a group of tests shares must not outlive the group."""

from __future__ import annotations

import pytest

CONFTEST = """
import pathlib, pytest
ENDED = pathlib.Path(__file__).with_name("ended")

@pytest.fixture(scope="session")
def shared(until_group_ends):
    until_group_ends.callback(ENDED.touch)

@pytest.fixture(scope="module")
def user(shared):
    yield
    assert not ENDED.exists(), "what is shared ended before the fixture that uses it"
"""
USERS = """
def test_one(user): pass
def test_two(user): pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """Two modules of the group ``platform``, which share something, and one that is in another group."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_platform=USERS, test_trigger_forms=USERS)
    pytester.makepyfile(test_another="import conftest\ndef test_it(): assert conftest.ENDED.exists()")
    return pytester


def test_what_a_group_shares_ends_before_the_next_group_begins(suite: pytest.Pytester) -> None:
    suite.runpytest("-p", "tests.support.groups", "-p", "no:cacheprovider").assert_outcomes(passed=5)


def test_it_ends_when_the_session_stops_at_a_failure(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_platform="def test_one(user): raise ValueError\ndef test_two(user): pass")
    suite.runpytest("-p", "tests.support.groups", "-p", "no:cacheprovider", "-x").assert_outcomes(failed=1)
    assert (suite.path / "ended").exists()
