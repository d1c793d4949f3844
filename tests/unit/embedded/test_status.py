"""What `make status` makes of a program that supervisord runs."""

from __future__ import annotations

import pytest

from include.embedded.__main__ import _fault


@pytest.mark.parametrize(
    ("state", "answers", "fault"),
    [
        ("RUNNING", {"part": None}, None),
        ("RUNNING", {"part": "no heartbeat"}, "no heartbeat"),
        ("RUNNING", {}, None),
        ("STARTING", {"part": None}, None),
        ("STARTING", {"part": "connection refused"}, "connection refused"),
        ("STARTING", {}, "supervisord reports STARTING"),
        ("FATAL", {"part": None}, "supervisord reports FATAL"),
        (None, {}, "supervisord reports MISSING"),
    ],
)
def test_a_program_that_responds_is_healthy_though_supervisord_calls_it_starting(
    state: str | None, answers: dict[str, str | None], fault: str | None
) -> None:
    assert _fault("part", {"part": state} if state else {}, answers) == fault
