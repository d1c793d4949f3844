"""Says how far the tests are and what runs now, one line every few seconds, and names each failure at once."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import pytest

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts what the processes of a session report; one instance in the process that prints."""

    def __init__(self, config: pytest.Config) -> None:
        self.terminal = config.get_terminal_writer()
        self.started = self.printed = time.monotonic()
        self.total = self.done = self.failed = self.skipped = 0
        self.running: dict[str, float] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.total = max(self.total, len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self.total = len(ids)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running[nodeid] = time.monotonic()
        self.say()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.skipped += report.skipped
        if report.failed:
            self.failed += 1
            self.terminal.line(f"{self.clock()} FAILED {report.nodeid} ({report.when})", red=True)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.running.pop(nodeid, None)
        self.done += 1
        if self.done == self.total:
            self.say(last=True)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self) -> Generator[None, Any, Any]:
        """No letter for each test: the lines replace them."""
        category, _, word = yield
        return category, "", word

    def say(self, last: bool = False) -> None:
        """A line about now, unless the one before is only some seconds old."""
        now = time.monotonic()
        if now - self.printed < SECONDS_BETWEEN_LINES and not last:
            return
        self.printed = now
        share = 100 * self.done // max(self.total, 1)
        counts = f"{self.done} of {self.total} tests ({share} %), {self.failed} failed, {self.skipped} skipped"
        names = ", ".join(f"{nodeid} ({now - since:.0f} s)" for nodeid, since in self.running.items())
        self.terminal.line(f"{self.clock()} {counts}" + (f"; now {names}" if names else ""))

    def clock(self) -> str:
        """Time since the start."""
        minutes, seconds = divmod(round(time.monotonic() - self.started), 60)
        return f"[{minutes:2d}:{seconds:02d}]"


def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if not hasattr(config, "workerinput") and config.get_verbosity() == 0 and not config.option.collectonly:
        config.pluginmanager.register(Progress(config), "progress")
