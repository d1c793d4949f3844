"""The last line of a run with coverage says how much was executed, and a run without any data does not crash."""

import pytest

pytestmark = pytest.mark.integration

PROJECT = {
    "pyproject": "[tool.coverage.run]\nsource = ['rooms']\n",
    "rooms/rules": "def used():\n    return 1\n\ndef unused():\n    return 2\n",
    "test_rules": "from rooms.rules import used\n\ndef test_it():\n    assert used()\n",
}


def last_lines(pytester: pytest.Pytester, *arguments: str) -> str:
    (pytester.path / "rooms").mkdir()
    for name, text in PROJECT.items():
        (pytester.path / f"{name}{'.toml' if name == 'pyproject' else '.py'}").write_text(text)
    pytester.syspathinsert()
    return str(pytester.runpytest_subprocess("-p", "tests.support.coverage_summary", *arguments).stdout)


def test_a_run_with_coverage_says_what_share_was_executed(pytester: pytest.Pytester) -> None:
    expected = "coverage: these tests executed 75.0 % of the lines of include and plugins"
    assert expected in last_lines(pytester, "--cov", "--cov-report=")


def test_a_run_without_coverage_says_nothing(pytester: pytest.Pytester) -> None:
    assert "coverage:" not in last_lines(pytester)


def test_a_run_without_any_data_says_so(pytester: pytest.Pytester) -> None:
    """As after a collection error in a folder that has none of the code."""
    pytester.makepyprojecttoml("[tool.coverage.run]\nsource = ['nowhere']\n")
    assert "coverage: No data" in str(
        pytester.runpytest_subprocess("-p", "tests.support.coverage_summary", "--cov", "--cov-report=").stdout
    )
