"""What a notification says, and how it looks as text, in Slack and in a mail.

Causes quote what others wrote: error messages, commit messages, reasons. So every part is one line without control
characters, and nothing in it is taken for markup.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from include.core.plain_text import one_line

SUBJECT_CHARACTERS = 150


@dataclass(frozen=True)
class Notification:
    """One event, for people."""

    subject: str
    """What happened, with the model and its version."""
    cause: str
    link: str
    """The URL of the Dag run's page, or of another one that ``page`` names."""
    page: str = "Run"

    @property
    def title(self) -> str:
        """The subject, safe for the header of a mail."""
        return one_line(self.subject, SUBJECT_CHARACTERS)

    @property
    def lines(self) -> list[str]:
        """Title, cause and link, each on a line."""
        cause = one_line(self.cause)
        return [
            self.title,
            *([f"Cause: {cause}"] if cause else []),
            *([f"{self.page}: {self.link}"] if self.link else []),
        ]

    def as_text(self) -> str:
        """Plain text."""
        return "\n".join(self.lines)

    def as_slack(self) -> str:
        """Text in which Slack finds neither links nor mentions (https://docs.slack.dev/messaging/formatting-message-text)."""
        return self.as_text().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    def as_html(self) -> str:
        """The body of a mail."""
        return "".join(f"<p>{self._linked(line)}</p>\n" for line in self.lines)

    def _linked(self, line: str) -> str:
        link, label = escape(self.link), escape(self.page)
        is_link = self.link and line == f"{self.page}: {self.link}"
        return f'{label}: <a href="{link}">{link}</a>' if is_link else escape(line)
