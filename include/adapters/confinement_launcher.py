"""Confines itself, then becomes the given command. A script of its own: run with ``python -I``, never imported.

``python -I confinement_launcher.py '<policy JSON>' -- command…`` replaces itself by the command (same process id,
so that signals of a supervisor reach it). With ``"watch"`` in the policy it stays as the command's guard instead:
it holds the time and memory limits of the whole tree, and ends all of it when its own parent dies.

The policy is made by :mod:`include.adapters.confinement`, which says what each field means.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import resource
import select
import shutil
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_SECUREBITS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 22, 28, 36, 38
SECBIT_NOROOT_LOCKED = 0b11
NOT_CONFINED = 125
"""Exit code when the confinement itself could not be set up; the command was not started."""

# Per machine: audit architecture, and the numbers of socket(2) and io_uring_setup(2).
SYSTEM_CALLS = {"x86_64": (0xC000003E, 41, 425), "aarch64": (0xC00000B7, 198, 425)}


def main(arguments: list[str]) -> NoReturn:
    policy, command = json.loads(arguments[0]), arguments[2:]
    if policy.get("watch"):
        watch(policy, command)
    become(policy, command)


def become(policy: dict[str, Any], command: list[str]) -> NoReturn:
    """Confine this process and replace it by the command."""
    scratch = Path(policy["scratch"])
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True, mode=0o700)
        os.chdir(policy["cwd"])
        os.umask(0o077)
        set_limits(policy)
        drop_capabilities()
        abi = restrict_with_landlock(policy)
        restrict_sockets(policy, abi)
    except Exception as error:
        print(f"{command[0]} was not started: could not confine it ({type(error).__name__}: {error})", file=sys.stderr)
        sys.stderr.flush()
        os._exit(NOT_CONFINED)
    try:
        os.execve(command[0], command, policy["env"])
    except OSError as error:
        print(f"{command[0]} can't be started: {error.strerror}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(127)


def watch(policy: dict[str, Any], command: list[str]) -> NoReturn:
    """Run the command as a child, hold its limits, end every process it left, and report through the result file."""
    import psutil

    settle = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    for number in settle:
        signal.signal(number, lambda *_: sys.exit(143))
    call_prctl(PR_SET_CHILD_SUBREAPER, 1)
    call_prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != policy["watch"]["parent"]:
        sys.exit(143)
    started = time.monotonic()
    me = psutil.Process()
    limit, status = None, None
    child = os.fork()
    if child == 0:
        for number in settle:
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        call_prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.set_inheritable(policy["watch"]["result"], False)
        become(policy, command)
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
        end_tree(me)
        shutil.rmtree(policy["scratch"], ignore_errors=True)
    result = {"code": status, "limit": limit, "seconds": time.monotonic() - started}
    os.write(policy["watch"]["result"], json.dumps(result).encode())
    sys.exit(0)


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
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
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


def end_tree(me: Any) -> None:
    """Kill every descendant, also those that left the process group, until none is left."""
    import psutil

    for _ in range(100):
        left = me.children(recursive=True)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        reap(0)
        if not left:
            return
        time.sleep(0.01)


def set_limits(policy: dict[str, Any]) -> None:
    """Memory of each process, size of each file, open files, no core dumps."""
    for name, value in (
        (resource.RLIMIT_DATA, policy["memory_mb"] * 2**20),
        (resource.RLIMIT_FSIZE, policy["file_mb"] * 2**20),
        (resource.RLIMIT_NOFILE, 4096),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def drop_capabilities() -> None:
    """Started as root, the command keeps the user id but none of root's capabilities after exec."""
    if sys.platform == "linux" and os.geteuid() == 0:
        call_prctl(PR_SET_SECUREBITS, SECBIT_NOROOT_LOCKED)


def restrict_with_landlock(policy: dict[str, Any]) -> int:
    """Only the policy's files and TCP ports; returns Landlock's version in the kernel, 0 where it has none."""
    if sys.platform != "linux":
        return 0
    from py_landlock import (
        AccessFs,
        AccessNet,
        LandlockDisabledError,
        LandlockNotAvailableError,
        NetPortAttr,
        RulesetAttr,
        add_rule,
        create_ruleset,
        get_abi_version,
        restrict_self,
    )
    from py_landlock.abi import get_supported_fs, get_supported_net, get_supported_scope

    try:
        abi = get_abi_version()
    except (LandlockNotAvailableError, LandlockDisabledError):
        return 0
    ruleset = RulesetAttr()
    ruleset.handled_access_fs = files = get_supported_fs(abi)
    ruleset.handled_access_net = get_supported_net(abi) & (AccessNet.BIND_TCP if policy["connect"] else ~AccessNet(0))
    ruleset.scoped = get_supported_scope(abi)
    rules = create_ruleset(ruleset)
    read = AccessFs.READ_FILE | AccessFs.READ_DIR | AccessFs.EXECUTE
    write = files & ~(AccessFs.MAKE_CHAR | AccessFs.MAKE_BLOCK | AccessFs.MAKE_SOCK)
    for path in policy["readable"]:
        allow_path(rules, path, read & files)
    for path in (*policy["writable"], policy["scratch"]):
        allow_path(rules, path, write)
    for port in policy["bind_ports"] if abi >= 4 else ():
        rule = NetPortAttr()
        rule.allowed_access, rule.port = AccessNet.BIND_TCP, port
        add_rule(rules, rule)
    call_prctl(PR_SET_NO_NEW_PRIVS, 1)
    restrict_self(rules, None)
    os.close(rules)
    return abi


def allow_path(rules: Any, path: str, access: int) -> None:
    """Allow what is asked below the path; a path that does not exist has nothing to allow."""
    from py_landlock import AccessFs, PathBeneathAttr, add_rule

    try:
        descriptor = os.open(os.path.realpath(path), os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return
        raise
    try:
        rule = PathBeneathAttr()
        of_files = AccessFs.READ_FILE | AccessFs.WRITE_FILE | AccessFs.EXECUTE | AccessFs.TRUNCATE | AccessFs.IOCTL_DEV
        rule.allowed_access = access if os.path.isdir(path) else access & of_files
        rule.parent_fd = descriptor
        add_rule(rules, rule)
    finally:
        os.close(descriptor)


def restrict_sockets(policy: dict[str, Any], abi: int) -> None:
    """Only TCP sockets, with seccomp, which covers what Landlock does not.

    A unix socket would reach the platform's own services (supervisord, Caddy, Docker) by path; UDP, MPTCP and
    io_uring would go round Landlock's TCP rules. socketpair(2) stays. Where the kernel has no Landlock for TCP
    and no port is asked for, no socket at all. Best effort: not on other machines and kernels.
    """
    machine = SYSTEM_CALLS.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        return
    architecture, socket, io_uring = machine
    load, equal, at_least, mask, answer = 0x20, 0x15, 0x35, 0x54, 0x06
    allow, fail_with = 0x7FFF0000, 0x00050000
    refuse, unknown, missing = fail_with | errno.EACCES, fail_with | errno.EPERM, fail_with | errno.ENOSYS
    tcp = allow if policy["connect"] or policy["bind_ports"] or abi >= 4 else refuse
    udp = allow if policy["connect"] else refuse
    program = [
        (load, 0, 0, 4),  # 0: architecture
        (equal, 1, 0, architecture),
        (answer, 0, 0, unknown),
        (load, 0, 0, 0),  # 3: number of the system call
        (at_least, 0, 1, 0x40000000),  # x32 has other numbers
        (answer, 0, 0, unknown),
        (equal, 0, 1, io_uring),
        (answer, 0, 0, missing),
        (equal, 1, 0, socket),
        (answer, 0, 0, allow),
        (load, 0, 0, 16),  # 10: family
        (equal, 2, 0, 2),  # AF_INET
        (equal, 1, 0, 10),  # AF_INET6
        (answer, 0, 0, refuse),
        (load, 0, 0, 24),  # 14: type
        (mask, 0, 0, 0xF),
        (equal, 1, 0, 1),  # SOCK_STREAM
        (answer, 0, 0, udp),
        (load, 0, 0, 32),  # 18: protocol
        (equal, 2, 0, 0),
        (equal, 1, 0, 6),
        (answer, 0, 0, refuse),
        (answer, 0, 0, tcp),
    ]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code)
    header = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(buffer)))
    call_prctl(PR_SET_NO_NEW_PRIVS, 1)
    call_prctl(PR_SET_SECCOMP, 2, ctypes.addressof(header))


def call_prctl(option: int, value: int, pointer: int = 0) -> bool:
    """prctl(2); False where it is refused or the system has none."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(word) for word in (value, pointer, 0, 0)]
    return library.prctl(ctypes.c_int(option), *words) == 0


if __name__ == "__main__":
    main(sys.argv[1:])
