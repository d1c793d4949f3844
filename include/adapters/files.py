"""Files that no reader ever sees half written."""

from __future__ import annotations

import os
from pathlib import Path
from secrets import token_hex

PRIVATE, SHARED = 0o600, 0o666
"""Modes of new files: for the owner alone, or for everyone whom the umask does not exclude."""


def write_atomically(path: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Write a file so that it is either there whole or not at all; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_private(path: Path, text: str) -> None:
    """Write a text so that it is either there whole or not at all, for its owner alone to read."""
    write_atomically(path, text.encode())
