"""The guards of a confined command: they hold its limits, and end every process that it left.

Loaded by :mod:`confinement_launcher`, so it needs the standard library, py_landlock and psutil only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, NotRequired, TypedDict

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
SETTLE = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
WALL = 0x40000000
"""Of waitpid(2): children that end with another signal than SIGCHLD too."""


class Watch(TypedDict):
    """What the guards of a job know of it."""

    time_limit: float
    """Seconds of wall time."""
    parent: int
    """Process that the job must not outlive."""
    result: int
    """File descriptor that the report is written to."""


class Policy(TypedDict):
    """What a confined command may do; JSON, since it is handed over on the command line."""

    cwd: str
    readable: list[str]
    writable: list[str]
    scratch: str
    """Its HOME and TMPDIR."""
    memory_mb: int
    file_mb: int
    bind_ports: list[int]
    connect: bool
    """Whether it may connect to others over TCP."""
    env: dict[str, str]
    """All of its environment."""
    watch: NotRequired[Watch]
    """Of a job; a server has none, since its supervisor holds its life."""


def watch(policy: Policy, become: Callable[[], NoReturn]) -> NoReturn:
    """Run the command below two guards, of which each ends everything when the other one is killed.

    The inner guard holds the limits and reports; the outer one only waits for it.
    """
    scoped = stand_guard(policy["watch"]["parent"])
    me = os.getpid()
    inner = os.fork()
    if inner == 0:
        guard(policy, become, me)
    try:
        os.waitpid(inner, 0)
    finally:
        end_tree(scoped)
        remove_tree(Path(policy["scratch"]))
    sys.exit(0)


def guard(policy: Policy, become: Callable[[], NoReturn], parent: int) -> NoReturn:
    """Run the command as a child, hold its limits, end every process it left, and report through the result file."""
    import psutil

    scoped = stand_guard(parent)
    started = time.monotonic()
    me = psutil.Process()
    limit, status = None, None
    child = os.fork()
    if child == 0:
        for number in SETTLE:
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        call_prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.set_inheritable(policy["watch"]["result"], False)
        become()
    try:
        deadline = started + policy["watch"]["time_limit"]
        while status is None:
            wait_a_moment(child)
            status = reap(child)
            if status is None and time.monotonic() > deadline:
                limit, status = "time", -signal.SIGKILL
            elif status is None and tree_memory(me) > policy["memory_mb"] * 2**20:
                limit, status = "memory", -signal.SIGKILL
    finally:
        end_tree(scoped)
        remove_tree(Path(policy["scratch"]))
    result = {"code": status, "limit": limit, "seconds": time.monotonic() - started}
    os.write(policy["watch"]["result"], json.dumps(result).encode())
    sys.exit(0)


def stand_guard(parent: int) -> bool:
    """End with the parent, and adopt every orphan below; True where :func:`scope_signals` holds."""
    for number in SETTLE:
        signal.signal(number, lambda *_: sys.exit(143))
    call_prctl(PR_SET_CHILD_SUBREAPER, 1)
    call_prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(143)
    return scope_signals()


def scope_signals() -> bool:
    """From now on this process and all below it can signal nobody else; False where the kernel can't hold that.

    Landlock does it since version 6 (Linux 6.12). A command below is confined once more, so it can't signal its guard.
    """
    if sys.platform != "linux":
        return False
    from py_landlock import (
        AccessFs,
        LandlockError,
        PathBeneathAttr,
        RulesetAttr,
        Scope,
        add_rule,
        create_ruleset,
        get_abi_version,
        restrict_self,
    )

    try:
        if get_abi_version() < 6:
            return False
    except LandlockError:
        return False
    ruleset = RulesetAttr()
    ruleset.scoped = Scope.SIGNAL
    # Every ruleset refuses moving and linking files between folders, unless it allows that by name.
    ruleset.handled_access_fs = AccessFs.REFER
    rules = create_ruleset(ruleset)
    everywhere = PathBeneathAttr()
    everywhere.allowed_access, everywhere.parent_fd = AccessFs.REFER, os.open("/", os.O_PATH | os.O_CLOEXEC)
    add_rule(rules, everywhere)
    os.close(everywhere.parent_fd)
    call_prctl(PR_SET_NO_NEW_PRIVS, 1)
    restrict_self(rules, None)
    os.close(rules)
    try:
        os.kill(os.getppid(), 0)
    except PermissionError:
        return True
    return False


def wait_a_moment(child: int) -> None:
    """Until the child ends, at most a tenth of a second."""
    if not hasattr(os, "pidfd_open"):
        time.sleep(0.05)
        return
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(child)
        try:
            select.select([descriptor], [], [], 0.1)
        finally:
            os.close(descriptor)


def reap(child: int) -> int | None:
    """The child's exit code (negative: signal) once it ended; orphans that ended are collected on the way."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG | WALL))[0]:
            if ended[0] == child:
                status = os.waitstatus_to_exitcode(ended[1])
    return status


def tree_memory(me: Any) -> int:
    """Bytes that the command and all its descendants hold for themselves (shared pages left out)."""
    import psutil

    total = 0
    for process in me.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            used = process.memory_info()
            total += used.rss - getattr(used, "shared", 0)
    return total


def end_tree(scoped: bool) -> None:
    """Kill every process below this one. Whoever loses its parent becomes a child of this one: no child, none left.

    Where signals are scoped, "everybody" is exactly who is below, and the kernel lets nobody fork out of it.
    """
    for number in SETTLE:
        signal.signal(number, signal.SIG_IGN)
    while has_children():
        if scoped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        else:
            kill_all_found()
        time.sleep(0.005)


def has_children() -> bool:
    """Whether there is a child, running or not; those that ended are collected."""
    try:
        while os.waitpid(-1, os.WNOHANG | WALL)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def kill_all_found() -> None:
    """Stop every descendant until a look finds no new one, so that they can't fork meanwhile; then kill them."""
    import psutil

    me = psutil.Process()
    stopped: set[psutil.Process] = set()
    while new := set(me.children(recursive=True)) - stopped:
        for process in new:
            with contextlib.suppress(psutil.Error):
                process.suspend()
        stopped |= new
    for process in stopped:
        with contextlib.suppress(psutil.Error):
            process.kill()


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that code which is not trusted left in it; links are not followed.

    Deeper than Python can recurse, and folders without permissions, are no hindrance. Nothing that still writes there
    may be running.
    """
    if folder.is_symlink():
        folder.unlink()
    if not folder.exists():
        return
    folder.chmod(0o700)
    here = os.open(folder, FOLDER)
    path: list[str] = []
    inner = [remove_files(here)]
    while inner[-1] or path:
        if inner[-1]:
            path.append(inner[-1].pop())
            os.chmod(path[-1], 0o700, dir_fd=here)
            here = go(here, path[-1])
            inner.append(remove_files(here))
        else:
            here = go(here, "..")
            inner.pop()
            os.rmdir(path.pop(), dir_fd=here)
    os.close(here)
    folder.rmdir()


def remove_files(folder: int) -> list[str]:
    """Remove what is not a folder; returns the names of the folders."""
    entries = list(os.scandir(folder))
    folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in {entry.name for entry in entries}.difference(folders):
        os.unlink(name, dir_fd=folder)
    return folders


def go(here: int, name: str) -> int:
    """The folder of this name instead of the one that is open."""
    there = os.open(name, FOLDER, dir_fd=here)
    os.close(here)
    return there


def call_prctl(option: int, value: int, pointer: int = 0) -> bool:
    """prctl(2); False where it is refused or the system has none."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(word) for word in (value, pointer, 0, 0)]
    return bool(library.prctl(ctypes.c_int(option), *words) == 0)
