"""What a command in a container prints reaches its log file and, line by line, the task's log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.adapters.engines.docker import job

LOGGER = "include.adapters.engines.docker.job"


def test_each_line_is_logged_as_soon_as_it_is_complete(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=LOGGER)
    seen: list[list[str]] = []

    def chunks() -> Iterator[bytes]:
        for chunk in (b"fit", b"ted\nsco", b"red\nend"):
            yield chunk
            seen.append(list(caplog.messages))

    output = job._Output(tmp_path / "job.log")
    output.copy(chunks())
    output.close()
    assert seen == [[], ["fitted"], ["fitted", "scored"]]
    assert caplog.messages == ["fitted", "scored", "end"]
    assert output.tail == "fitted\nscored\nend\n"
    assert (tmp_path / "job.log").read_bytes() == b"fitted\nscored\nend"


def test_output_without_end_is_cut_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=LOGGER)
    output = job._Output(tmp_path / "job.log", _left=8)
    output.copy([b"1234\n", b"5678\n", b"90\n"])
    output.close()
    assert caplog.messages == ["1234", "more than 16 MiB of output: the rest is omitted", "567"]
    assert (tmp_path / "job.log").read_bytes() == b"1234\n567"
