"""Copies a job's output from the folder that it wrote to into one that it could not access.

A job's code is untrusted, and it may leave anything in its folder: links to the platform's keys, pipes without a
writer, devices, huge files. So the platform writes nothing there, and reads only the expected files, opened without
following links, after all processes of the job have ended.
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

MAX_BYTES = FILE_MB * 2**20
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
    """An empty folder for one job to write to; it is removed afterwards."""
    remove_tree(path)
    path.mkdir(parents=True, mode=0o700)
    try:
        yield path
    finally:
        remove_tree(path)


def take_files(
    left: Path, names: Sequence[str], into: Path, *, optional: Sequence[str] = (), largest_bytes: int = MAX_BYTES
) -> None:
    """Copy these files from the folder that a job wrote to. Call only after all its processes have ended.

    Those that are ``optional`` may be missing, but if they are there, they must be regular files too.
    Raises TrainingError that names a file which is missing, not a regular file, a hard link, or with which the total
    exceeds ``largest_bytes``. Files copied before it are kept.
    """
    into.mkdir(parents=True, exist_ok=True)
    directory = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        existing = [name for name in optional if name in os.listdir(directory)]
        for name in (*names, *existing):
            largest_bytes -= _take(directory, name, into / name, largest_bytes)
    finally:
        os.close(directory)


def _take(directory: int, name: str, target: Path, largest_bytes: int) -> int:
    if name in ("", ".", "..") or "/" in name:
        raise ValueError(f"'{name}' is not the name of a file in the job's folder.")
    try:
        source = os.open(name, _SAFE_FLAGS, dir_fd=directory)
    except OSError as error:
        raise TrainingError(f"the job left '{name}' as {_open_problem(directory, name, error)}. {_REMEDY}") from None
    status = os.fstat(source)
    if not stat.S_ISREG(status.st_mode):
        os.close(source)
        raise TrainingError(f"the job left '{name}' as {_kind(status.st_mode)}. {_REMEDY}")
    with os.fdopen(source, "rb") as file:
        if status.st_nlink != 1:
            raise TrainingError(f"the job left '{name}' as a hard link: it has {status.st_nlink} names. {_REMEDY}")
        if status.st_size > largest_bytes:
            raise TrainingError(
                f"the job left '{name}' with {status.st_size} bytes; at most {largest_bytes} are accepted. "
                "Write less to it."
            )
        temporary = target.with_name(f".{name}.taken")
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as copy:
            shutil.copyfileobj(file, copy, 2**20)
        temporary.replace(target)
    return status.st_size


def _open_problem(directory: int, name: str, error: OSError) -> str:
    """Why a name can't be opened."""
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except OSError:
        return "nothing: there is no such file"
    return "a file that can't be read" if stat.S_ISREG(mode) else f"{_kind(mode)} ({error.strerror})"


def _kind(mode: int) -> str:
    return KINDS.get(stat.S_IFMT(mode), "something unknown")


# Non-blocking, because opening a named pipe would wait for a writer.
_SAFE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_REMEDY = "Only regular files are accepted: the model's code must not write anything with this name."
