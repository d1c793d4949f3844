"""Text that others wrote (errors, reasons, commit messages), made safe for one line of a terminal, mail or chat."""

from __future__ import annotations

import re
import unicodedata


def one_line(text: str, limit: int = 300) -> str:
    """The text on one line, without control and invisible format characters; cut off after ``limit`` characters."""
    visible = "".join(char if char.isspace() or unicodedata.category(char)[0] != "C" else "" for char in text)
    line = " ".join(visible.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def first_sentence(text: str, limit: int = 300) -> str:
    """The first sentence or the first line of the text, whichever is shorter, on one line."""
    lines = text.strip().splitlines()
    return one_line(re.split(r"(?<=[.!?])\s", lines[0], maxsplit=1)[0] if lines else "", limit)


def quoted(text: str, limit: int = 300) -> str:
    """The text as code in Markdown, in which nothing is taken for a link, an image, HTML or emphasis; – if empty."""
    line = one_line(text.replace("`", "'"), limit)
    return f"`{line}`" if line else "–"


def without_credentials(text: str) -> str:
    """A URL, or a message with URLs in it, without users and passwords, which may themselves hold an ``@``."""
    return re.sub(r"://[^/?#\s]*@", "://", text)
