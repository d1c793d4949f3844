"""The guard fails the test that leaves the environment changed, and only that one."""

from typing import Any

import pytest

GUARD = 'pytest_plugins = ["tests.support.environment_guard"]\n'


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the given tests in a pytest of their own, with the guard."""
    monkeypatch.setenv("EVERGREEN_ENGINE", "process")

    def run(tests: str) -> pytest.RunResult:
        pytester.makeconftest(GUARD)
        pytester.makepyfile(f"import os\nimport pytest\n{tests}")
        return pytester.runpytest_inprocess("-p", "no:cacheprovider")

    return run


@pytest.mark.parametrize(
    "change, words",
    [
        ("os.environ['EVERGREEN_ENGINE'] = 'docker'", "*left EVERGREEN_ENGINE='docker'*"),
        ("os.environ['AIRFLOW_HOME'] = '/x'", "*left AIRFLOW_HOME='/x'*"),
        ("del os.environ['EVERGREEN_ENGINE']", "*left EVERGREEN_ENGINE unset*"),
        ("os.chdir('/')", "*left working folder='/'*"),
        ("pytest.MonkeyPatch().setenv('EVERGREEN_HOME', '/x')", "*left EVERGREEN_HOME='/x'*"),
    ],
)
def test_a_test_that_leaves_a_change_fails_and_the_next_one_sees_none(session: Any, change: str, words: str) -> None:
    result = session(
        f"""
def test_leaves():
    {change}

def test_next():
    assert os.environ["EVERGREEN_ENGINE"] == "process" and os.getcwd() != "/"
    assert "/x" not in (os.environ.get("AIRFLOW_HOME"), os.environ.get("EVERGREEN_HOME"))
"""
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines([words, "ERROR *::test_leaves*"])


def test_a_module_fixture_that_skips_before_it_undoes_its_change_fails_and_is_undone(session: Any) -> None:
    """The fault that let 61 tests fail where no Docker Engine was."""
    result = session(
        """
@pytest.fixture(scope="module")
def place():
    patch = pytest.MonkeyPatch()
    patch.setenv("EVERGREEN_ENGINE", "docker")
    pytest.skip("no engine answers")
    yield
    patch.undo()

def test_needs_it(place):
    pass

def test_next():
    assert os.environ["EVERGREEN_ENGINE"] == "process"
"""
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*fixture 'place' ended early*left EVERGREEN_ENGINE='docker'*"])


def test_a_module_fixture_that_never_undoes_its_change_fails_the_modules_last_test(session: Any) -> None:
    result = session(
        """
@pytest.fixture(scope="module")
def place():
    os.environ["EVERGREEN_ENGINE"] = "docker"
    yield

def test_first(place):
    pass

def test_last(place):
    pass
"""
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["ERROR *::test_last*"])


def test_changes_that_are_undone_are_fine(session: Any) -> None:
    result = session(
        """
@pytest.fixture(scope="module")
def place():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVERGREEN_ENGINE", "docker")
        yield

@pytest.fixture(scope="module")
def room(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVERGREEN_HOME", "/x")
        yield

def test_first(room, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVERGREEN_ENGINE", "other")

def test_second(place):
    assert os.environ["EVERGREEN_ENGINE"] == "docker"
"""
    )
    result.assert_outcomes(passed=2)
