"""Measures and removes files, so that nothing is ever half removed under its own name."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

ASIDE = ".removed-"
"""What is being removed has this before its name; leftovers of a killed removal are removed by the next one."""


def used_since(path: Path, now: datetime) -> float:
    """Seconds since the file or folder was made, changed or touched (``now``: naive UTC)."""
    return (now - datetime.fromtimestamp(path.lstat().st_mtime, UTC).replace(tzinfo=None)).total_seconds()


def size(path: Path) -> int:
    """Bytes on disk of a file, or of all files below a folder; links are not followed."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return found.st_blocks * 512
    return sum(one.lstat().st_blocks * 512 for one in _below(path))


def remove(path: Path) -> None:
    """Remove a file or a folder; a link is removed, not what it points to."""
    aside = path.with_name(f"{ASIDE}{path.name}")
    path.rename(aside)
    _delete(aside)


def remove_leftovers(folder: Path) -> None:
    """Finish removals that were killed."""
    for path in folder.glob(f"{ASIDE}*"):
        _delete(path)


def disk_used(path: Path) -> float:
    """The share of the disk that is used, from 0 to 1, as an ordinary user sees it."""
    usage = os.statvfs(path)
    used = usage.f_blocks - usage.f_bfree
    return used / max(1, used + usage.f_bavail)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for folder in (path, *(one for one in _below(path) if one.is_dir() and not one.is_symlink())):
            folder.chmod(folder.stat().st_mode | stat.S_IRWXU)  # a model's code may have been read-only
        shutil.rmtree(path)
    else:
        path.unlink()


def _below(path: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(path):
        yield from (Path(folder, name) for name in (*folders, *files))
