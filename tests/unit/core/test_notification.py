"""Texts of others in notifications: one line, no control characters, no markup."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.notification import SUBJECT_CHARACTERS, Notification
from include.core.plain_text import first_sentence, one_line

LINK = "http://127.0.0.1:8080/dags/late.ci/runs/manual__1"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model.yaml: is invalid. Correct it.", "model.yaml: is invalid."),
        ("the disk is full\nTraceback ...", "the disk is full"),
        ("  \n\nlate: version 1.2 failed! Look there.", "late: version 1.2 failed!"),
        ("", ""),
        ("\x1b[31mred\x1b[0m \u202etext", "[31mred[0m text"),
    ],
)
def test_the_first_sentence_is_the_first_thing_to_know(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


@given(st.text(max_size=80), st.integers(1, 50))
def test_one_line_is_one_line_of_limited_length(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    assert one_line(line, limit) == line


@given(st.text(max_size=200), st.text(max_size=400))
def test_whatever_is_quoted_a_message_has_its_own_lines_only(subject: str, cause: str) -> None:
    message = Notification(subject, cause, LINK)
    assert len(message.as_text().splitlines()) <= 3
    assert len(message.title) <= SUBJECT_CHARACTERS
    assert message.as_html().count("<p>") == len(message.lines)
    assert "<" not in message.as_slack()


def test_markup_in_a_cause_stays_text() -> None:
    message = Notification("late.ci failed", '<!channel> <https://evil.test|here> & <script>alert("x")</script>', LINK)
    assert message.as_slack().splitlines()[1].startswith("Cause: &lt;!channel&gt; &lt;https://evil.test|here&gt; &amp;")
    assert "<script>" not in message.as_html()
    assert f'<a href="{LINK}">{LINK}</a>' in message.as_html()
    assert message.as_text().splitlines() == ["late.ci failed", message.lines[1], f"Run: {LINK}"]


def test_a_cause_can_not_pass_for_the_link() -> None:
    html = Notification("late.ci failed", f'x\nRun: {LINK}"><b>', LINK).as_html()
    assert html.count("<a ") == 1
    assert "<b>" not in html
