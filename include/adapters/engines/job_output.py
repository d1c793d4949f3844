"""What a job leaves: taken out of the folder that it wrote to, into one that it never saw.

A job's code is not trusted, and it may leave anything in its folder: links to the platform's keys, pipes that nobody
writes to, devices, files without end. So the platform writes nothing there and reads nothing there but the files that
it expects, each opened without following links, and only once every process of the job has ended.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from include.adapters.engines.process.confinement import FILE_MB
from include.adapters.engines.process.confinement_guard import remove_tree
from include.core.errors import TrainingError

LARGEST_BYTES = FILE_MB * 2**20
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextlib.contextmanager
def job_folder(path: Path) -> Iterator[Path]:
    """An empty folder for one job to write to; whatever is in it afterwards is removed."""
    remove_tree(path)
    path.mkdir(parents=True, mode=0o700)
    try:
        yield path
    finally:
        remove_tree(path)


def take_files(left: Path, names: Sequence[str], into: Path, *, largest_bytes: int = LARGEST_BYTES) -> None:
    """Copy these files out of the folder that a job wrote to. Only after all its processes have ended.

    Raises TrainingError that names the file which is missing, not a regular file, a second name of a file elsewhere,
    or with which they are more than ``largest_bytes`` together. What was taken before stays.
    """
    into.mkdir(parents=True, exist_ok=True)
    directory = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for name in names:
            largest_bytes -= _take(directory, name, into / name, largest_bytes)
    finally:
        os.close(directory)


def _take(directory: int, name: str, target: Path, largest_bytes: int) -> int:
    if name in ("", ".", "..") or "/" in name:
        raise ValueError(f"'{name}' is not the name of a file in the job's folder.")
    try:
        source = os.open(name, _CAREFULLY, dir_fd=directory)
    except OSError as error:
        raise TrainingError(f"the job left '{name}' as {_what_is_there(directory, name, error)}. {_REMEDY}") from None
    status = os.fstat(source)
    if not stat.S_ISREG(status.st_mode):
        os.close(source)
        raise TrainingError(f"the job left '{name}' as {_kind(status.st_mode)}. {_REMEDY}")
    with os.fdopen(source, "rb") as file:
        if status.st_nlink != 1:
            raise TrainingError(f"the job left '{name}' as a hard link: it has {status.st_nlink} names. {_REMEDY}")
        if status.st_size > largest_bytes:
            raise TrainingError(
                f"the job left '{name}' with {status.st_size} bytes, and {largest_bytes} is the most that is taken. "
                "Write less there."
            )
        temporary = target.with_name(f".{name}.taken")
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as copy:
            shutil.copyfileobj(file, copy, 2**20)
        temporary.replace(target)
    return status.st_size


def _what_is_there(directory: int, name: str, error: OSError) -> str:
    """Why a name can't be opened."""
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except OSError:
        return "nothing: there is no such file"
    return "a file that can't be read" if stat.S_ISREG(mode) else f"{_kind(mode)} ({error.strerror})"


def _kind(mode: int) -> str:
    return KINDS.get(stat.S_IFMT(mode), "something unknown")


# Not blocking: a named pipe would wait for somebody who writes.
_CAREFULLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_REMEDY = "Only regular files are taken: let the model's code write nothing of this name."
