"""A skip always says what is missing, and nothing can be skipped where everything is required."""

from typing import Any

import pytest

from tests.support.needs import NEEDS, missing

PLUGIN = 'pytest_plugins = ["tests.support.needs"]\n'
LACKING = """
import pytest

@pytest.fixture
def place():
    raise AssertionError("set up though its need is missing")

@pytest.mark.needs("unobtainium")
def test_mine(place):
    pass

def test_free():
    pass
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the given tests in a pytest of their own, with the markers."""
    monkeypatch.setitem(NEEDS, "unobtainium", lambda: "there is none. Dig for it")
    monkeypatch.delenv("EVERGREEN_REQUIRE_ALL", raising=False)
    monkeypatch.delenv("EVERGREEN_SKIPPED", raising=False)

    def run(tests: str) -> pytest.RunResult:
        pytester.makeconftest(PLUGIN)
        pytester.makepyfile(test_it=tests)
        return pytester.runpytest_inprocess("-rs", "-p", "no:cacheprovider")

    return run


def test_a_missing_need_skips_before_any_fixture_and_says_how_to_get_it(
    session: Any, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    monkeypatch.setenv("EVERGREEN_SKIPPED", str(pytester.path / "skipped"))
    result = session(LACKING)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*there is none. Dig for it*"])
    assert (pytester.path / "skipped").read_text() == "test_it.py::test_mine\n"


def test_where_everything_is_required_a_missing_need_fails(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERGREEN_REQUIRE_ALL", "1")
    result = session(LACKING)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*allows none: *there is none. Dig for it*"])


@pytest.mark.parametrize(
    "tests",
    [
        "import pytest\n\n\ndef test_a():\n    pytest.skip('not today')\n",
        "import pytest\n\n\n@pytest.mark.skip(reason='not today')\ndef test_a():\n    pass\n",
        "import pytest\n\n\n@pytest.mark.needs()\ndef test_a():\n    pytest.skip('not today')\n",
    ],
    ids=["in the test", "by a marker", "with a need that is there"],
)
def test_a_skip_for_any_other_reason_fails(session: Any, tests: str) -> None:
    result = session(tests)
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*no marker says what is missing*not today*"])


def test_a_need_that_nobody_knows_is_an_error(session: Any) -> None:
    result = session("import pytest\n\n\n@pytest.mark.needs('dokcer')\ndef test_a():\n    pass\n")
    result.assert_outcomes(errors=1)


def test_each_reason_names_a_remedy() -> None:
    for need in NEEDS:
        assert missing(need) == "" or any(word in missing(need) for word in ("apt install", "Start", "root", "newer"))
