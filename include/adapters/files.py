"""Atomic writing of files and links."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

PRIVATE, SHARED = 0o600, 0o666
"""Modes of new files: for the owner only, or for everyone allowed by the umask."""


def write_atomically(path: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Write a file atomically: readers see the complete file or none. Missing folders are created."""
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
    """Write a text file atomically, readable only by the owner."""
    write_atomically(path, text.encode())


def link_atomically(path: Path, target: Path | str) -> None:
    """Let a symbolic link, or a new one, point to a target. Missing folders are created."""
    with suppress(OSError):
        if os.readlink(path) == str(target):
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    temporary.symlink_to(target)
    os.replace(temporary, path)
