"""The limits of a confined command: what it and all its descendants use together.

Loaded by :mod:`confinement_launcher`, so it needs only the standard library and psutil.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
DISK_SECONDS = 1.0
"""Time between two looks at how much disk is used."""
LARGEST_TREE = 200_000
"""Files and folders that a job may have at one time."""
DEEPEST_TREE = 200
HIDDEN = 2**60
"""The size of what can't be looked at: too deep, or closed to the guard, which is the same user as the command."""


class Watch(TypedDict):
    """The guards' parameters for a job."""

    time_limit: float
    """Seconds of wall time."""
    processes: int
    """How many processes and threads it may have at one time."""
    disk_mb: int | None
    """How much its files and its output may take, in MiB; None: not limited."""
    folders: list[str]
    """The folders in which it may write files, except devices."""
    parent: int
    """The process that the job must not outlive."""
    result: int
    """The file descriptor to which the report is written."""


def exceeded(me: Any, memory_mb: int, watch: Watch) -> Iterator[str | None]:
    """At each step, the limit that the command exceeds by now, if any."""
    deadline = time.monotonic() + watch["time_limit"]
    look = 0.0
    while True:
        now = time.monotonic()
        limit = "time" if now > deadline else memory_or_processes(me, memory_mb, watch["processes"])
        if limit is None and now > look:
            limit = "disk" if watch["disk_mb"] and disk_exceeded(me, watch["disk_mb"], watch["folders"]) else None
            look = time.monotonic() + DISK_SECONDS
        yield limit


def memory_or_processes(me: Any, memory_mb: int, processes: int) -> str | None:
    """Whether all descendants of this process together exceed their memory or their number, threads included."""
    limit = memory_mb * 2**20
    for _ in range(5):
        private, tasks, shared = usage(me)
        if tasks > processes:
            return "processes"
        # Pages that several processes share are counted for each of them; their shares take longer to find.
        shares = (shared_memory(pid, "smaps_rollup", "Pss_Shmem", mapped) for pid, mapped in shared.items())
        if private + sum(shared.values()) <= limit or private + sum(map(min, shared.values(), shares)) <= limit:
            return None
        # A process that exits during a reading makes the shares of those that are read later larger: read again.
        later = usage(me)[2]
        if all(later.get(pid, 0) >= mapped for pid, mapped in shared.items()):
            break
    return "memory"


def usage(me: Any) -> tuple[int, int, dict[int, int]]:
    """Private memory of all descendants (bytes), their threads, and the shared memory of each (bytes)."""
    import psutil

    private = tasks = 0
    shared: dict[int, int] = {}
    for process in me.children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):
            used = process.memory_info()
            private += used.rss - getattr(used, "shared", 0)
            tasks += process.num_threads()
            shared[process.pid] = shared_memory(process.pid, "status", "RssShmem")
    return private, tasks, shared


def shared_memory(pid: int, file: str, field: str, unreadable: int = 0) -> int:
    """Bytes of shared memory, by a field of a file in /proc; 0 where there is none (other systems)."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return unreadable
    values = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(values[0]) * 1024 if values else 0


def disk_exceeded(me: Any, disk_mb: int, folders: list[str]) -> bool:
    """Whether the command's files take more than its share of the disk, or are too many to look at.

    Counts the blocks of all files in its folders, of its output, and of files that were removed but are still open.
    """
    import psutil

    left = disk_mb * 2048 - os.fstat(sys.stdout.fileno()).st_blocks
    entries = 0
    for folder in folders:
        for blocks in blocks_below(Path(folder)):
            entries, left = entries + 1, left - blocks
            if left < 0 or entries > LARGEST_TREE:
                return True
    removed: dict[tuple[int, int], int] = {}
    for process in me.children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):
            for descriptor in os.scandir(f"/proc/{process.pid}/fd"):
                with contextlib.suppress(OSError):
                    file = os.stat(descriptor.path)
                    if stat.S_ISREG(file.st_mode) and not file.st_nlink:
                        removed[file.st_dev, file.st_ino] = file.st_blocks
    return sum(removed.values()) > left


def blocks_below(folder: Path) -> Iterator[int]:
    """The blocks (512 bytes) of each file and folder in a tree that untrusted code is changing; links count as files.

    Paths may be longer than the kernel accepts, so folders are opened one inside the other.
    """
    try:
        levels = [os.open(folder, FOLDER)]
    except OSError:
        return
    inner = [iter(os.listdir(levels[0]))]
    try:
        while inner:
            name = next(inner[-1], None)
            if name is None:
                inner.pop()
                os.close(levels.pop())
                continue
            try:
                file = os.stat(name, dir_fd=levels[-1], follow_symlinks=False)
                yield file.st_blocks
                if stat.S_ISDIR(file.st_mode):
                    if len(levels) == DEEPEST_TREE:
                        yield HIDDEN
                    levels.append(os.open(name, FOLDER, dir_fd=levels[-1]))
                    inner.append(iter(os.listdir(levels[-1])))
            except OSError as error:
                if error.errno == errno.EACCES:  # else it is gone, or no longer a folder
                    yield HIDDEN
    finally:
        for descriptor in levels:
            os.close(descriptor)
