"""One line at the end of a run with ``--cov``: how many lines of include and plugins it executed.

Lines that only run in a process of its own, such as a confined job or a container, are not counted.
"""

import io
from typing import Any

import coverage
import pytest


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    if not config.getoption("cov_source", None):
        return
    measured = coverage.Coverage()
    try:
        measured.load()
        percent = measured.report(file=io.StringIO())
    except coverage.exceptions.NoDataError as error:
        terminalreporter.write_line(f"coverage: {error}")
    else:
        terminalreporter.write_line(
            f"coverage: these tests executed {percent:.1f} % of the lines of include and plugins"
        )
