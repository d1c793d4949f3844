"""The guards of a confined command: they enforce its limits, and kill every process that it leaves behind.

Loaded by :mod:`confinement_launcher`, so it needs only the standard library, py_landlock and psutil.
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
from typing import NoReturn, NotRequired, TypedDict

from include.adapters.engines.process.confinement_limits import FOLDER, Watch, exceeded

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
SETTLE = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
WALL = 0x40000000
"""Option of waitpid(2): also wait for children whose exit signal is not SIGCHLD."""


class Policy(TypedDict):
    """What a confined command may do; JSON, because it is passed to the launcher."""

    cwd: str
    readable: list[str]
    writable: list[str]
    appendable: list[str]
    """Folders in which files may be created and written to, and nothing else."""
    read_only: bool
    """Whether modes, times and attributes of all other files are protected, by read-only mounts."""
    scratch: str
    """Its HOME and TMPDIR."""
    memory_mb: int
    file_mb: int
    listen: tuple[str, int] | None
    """Host and port of the one socket that it gets, bound; its number is in the variable EVERGREEN_SOCKET."""
    bind_ports: list[int]
    """Ports to which it may bind sockets of its own."""
    connect: bool
    """Whether it may open TCP connections."""
    env: dict[str, str]
    """Its complete environment."""
    watch: NotRequired[Watch]
    """Only for jobs; servers are watched by their supervisor."""


def oversee(policy: Policy, enter: Callable[[], None], become: Callable[[], NoReturn]) -> NoReturn:
    """Run the guards and the command in the view that ``enter`` makes; remove the scratch folder from outside of it.

    In that view, the folder is a mount point, which can't be removed.
    """
    die_with(policy["watch"]["parent"])
    me = os.getpid()
    outer = os.fork()
    if outer == 0:
        enter()
        watch(policy, become, me)
    try:
        os.waitpid(outer, 0)
    except SystemExit:
        os.kill(outer, signal.SIGTERM)
        raise
    finally:
        for number in SETTLE:
            signal.signal(number, signal.SIG_IGN)
        while has_children():
            time.sleep(0.005)
        remove_tree(Path(policy["scratch"]))
    sys.exit(0)


def watch(policy: Policy, become: Callable[[], NoReturn], parent: int) -> NoReturn:
    """Run the command under two guards, each of which kills everything if the other one is killed.

    The inner guard enforces the limits and reports; the outer one only waits for it.
    """
    die_with(parent)
    scoped = scope_signals()
    me = os.getpid()
    inner = os.fork()
    if inner == 0:
        guard(policy, become, me)
    try:
        os.waitpid(inner, 0)
    finally:
        end_tree(scoped)
    sys.exit(0)


def guard(policy: Policy, become: Callable[[], NoReturn], parent: int) -> NoReturn:
    """Run the command as a child, enforce its limits, kill all leftover processes, and write the report."""
    import psutil

    die_with(parent)
    scoped = scope_signals()
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
        limits = exceeded(me, policy["memory_mb"], policy["watch"])
        while status is None:
            wait_briefly(child)
            status = reap(child)
            if status is None and (limit := next(limits)):
                status = -signal.SIGKILL
    finally:
        end_tree(scoped)
    result = {"code": status, "limit": limit, "seconds": time.monotonic() - started}
    os.write(policy["watch"]["result"], json.dumps(result).encode())
    sys.exit(0)


def die_with(parent: int) -> None:
    """Exit when the parent exits or a person asks for it, and adopt all orphans in the tree."""
    for number in SETTLE:
        signal.signal(number, lambda *_: sys.exit(143))
    call_prctl(PR_SET_CHILD_SUBREAPER, 1)
    call_prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(143)


def scope_signals() -> bool:
    """Prevent this process and its descendants from signalling other processes; False if the kernel can't.

    Landlock supports it since version 6 (Linux 6.12). The command is confined again, so it can't signal its guard.
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
    # Every ruleset forbids moving and linking files between folders unless it explicitly allows it.
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


def wait_briefly(child: int) -> None:
    """Wait until the child exits, at most a tenth of a second."""
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
    """The child's exit code (negative: signal) once it has exited; also reaps exited orphans."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG | WALL))[0]:
            if ended[0] == child:
                status = os.waitstatus_to_exitcode(ended[1])
    return status


def end_tree(scoped: bool) -> None:
    """Kill all descendants. Orphans become children of this process, so no process is left once it has no children.

    If signals are scoped, signalling "all processes" (-1) reaches exactly the descendants, and no fork can escape it.
    """
    for number in SETTLE:
        signal.signal(number, signal.SIG_IGN)
    while has_children():
        if scoped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        else:
            kill_descendants()
        time.sleep(0.005)


def has_children() -> bool:
    """Whether this process has children; exited ones are reaped."""
    try:
        while os.waitpid(-1, os.WNOHANG | WALL)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def kill_descendants() -> None:
    """Suspend descendants until no new ones appear, so that they can't fork in the meantime; then kill them."""
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
    """Remove a folder and everything that untrusted code left in it; links are not followed.

    It handles trees deeper than Python's recursion limit and folders without permissions. No process may still write to
    the folder.
    """
    if folder.is_symlink():
        folder.unlink()
    if not folder.exists():
        return
    folder.chmod(0o700)
    current = os.open(folder, FOLDER)
    path: list[str] = []
    inner = [remove_files(current)]
    while inner[-1] or path:
        if inner[-1]:
            path.append(inner[-1].pop())
            os.chmod(path[-1], 0o700, dir_fd=current)
            current = change_folder(current, path[-1])
            inner.append(remove_files(current))
        else:
            current = change_folder(current, "..")
            inner.pop()
            os.rmdir(path.pop(), dir_fd=current)
    os.close(current)
    folder.rmdir()


def remove_files(folder: int) -> list[str]:
    """Remove everything except folders; returns the folders' names."""
    entries = list(os.scandir(folder))
    folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in {entry.name for entry in entries}.difference(folders):
        os.unlink(name, dir_fd=folder)
    return folders


def change_folder(current: int, name: str) -> int:
    """Open a folder relative to ``current``, which is closed."""
    opened = os.open(name, FOLDER, dir_fd=current)
    os.close(current)
    return opened


def call_prctl(option: int, value: int, pointer: int = 0) -> bool:
    """Call prctl(2); False if it is refused or not available."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    arguments = [ctypes.c_ulong(argument) for argument in (value, pointer, 0, 0)]
    return bool(library.prctl(ctypes.c_int(option), *arguments) == 0)
