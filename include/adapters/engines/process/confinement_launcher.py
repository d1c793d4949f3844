"""Confines itself, then becomes the given command. A standalone script, run with ``python -I``.

``python -I confinement_launcher.py '<policy>' -- command…`` replaces itself with the command (same process id, so that
a supervisor's signals reach it). The policy is JSON, or the number of a descriptor from which to read it. With
``"watch"`` in the policy, it stays as the command's guard instead: it enforces the time and memory limits of the whole
process tree, and kills the tree when its own parent dies. It needs only the standard library, py_landlock and psutil.

The policy is created by :mod:`include.adapters.engines.process.confinement`, which documents its fields.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import socket
import struct
import sys
from pathlib import Path
from typing import Any, NoReturn

sys.path.append(str(Path(__file__).parents[4]))

from include.adapters.engines.process.confinement_guard import (
    PR_SET_NO_NEW_PRIVS,
    Policy,
    call_prctl,
    oversee,
    remove_tree,
)
from include.adapters.engines.process.confinement_mounts import make_read_only
from include.adapters.engines.process.system_calls import seccomp_program

PR_GET_SECCOMP, PR_SET_SECCOMP, PR_SET_SECUREBITS = 21, 22, 28
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
SECBIT_NOROOT_LOCKED = 0b11
NOT_CONFINED = 125
"""Exit code if the confinement itself could not be set up; the command was not started."""


def main(arguments: list[str]) -> NoReturn:
    """Confine this process by the policy in the first argument, and become the command after ``--``."""
    policy, command = read_policy(arguments[0]), arguments[2:]
    if policy.get("watch"):
        oversee(policy, lambda: enter_view(policy, command), lambda: become(policy, command))
    scratch = Path(policy["scratch"])
    remove_tree(scratch)
    scratch.mkdir(parents=True, mode=0o700)
    enter_view(policy, command)
    become(policy, command)


def read_policy(argument: str) -> Policy:
    """The policy from its JSON text, or from the descriptor with this number, which is closed."""
    if argument.isdigit():
        with os.fdopen(int(argument), encoding="utf-8") as file:
            argument = file.read()
    policy: Policy = json.loads(argument)
    return policy


def enter_view(policy: Policy, command: list[str]) -> None:
    """Make everything read-only for this process and its children, but what the command may write to."""
    if not policy["read_only"]:
        return
    try:
        make_read_only([*policy["writable"], *policy["appendable"], policy["scratch"]], policy["memory_mb"])
    except OSError as error:
        give_up(policy, command, error)


def become(policy: Policy, command: list[str]) -> NoReturn:
    """Confine this process and replace it with the command."""
    if policy["listen"]:
        policy["env"]["EVERGREEN_SOCKET"] = str(bound_socket(*policy["listen"]))
    try:
        os.chdir(policy["cwd"])
        os.umask(0o077)
        set_limits(policy)
        drop_capabilities()
        restrict_with_landlock(policy)
        program = seccomp_program(
            bind=bool(policy["bind_ports"]), connect=policy["connect"], fork=bool(policy.get("watch"))
        )
        restrict_system_calls(program)
    except Exception as error:
        give_up(None, command, error)
    try:
        os.execve(command[0], command, policy["env"])
    except OSError as error:
        print(f"{command[0]} can't be started: {error.strerror}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(127)


def bound_socket(host: str, port: int) -> int:
    """The descriptor of a TCP socket that is bound, so that the command needs no right to make one."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
            bound.set_inheritable(True)
            return bound.detach()
    except OSError as error:
        sys.exit(f"port {port} of {host} can't be used: {error.strerror}")


def give_up(policy: Policy | None, command: list[str], error: Exception) -> NoReturn:
    """Say why the command was not started; as the guards' report, too, if there are none yet (``policy``)."""
    print(f"{command[0]} was not started: could not confine it ({type(error).__name__}: {error})", file=sys.stderr)
    sys.stderr.flush()
    if policy and policy.get("watch"):
        report = {"code": NOT_CONFINED, "limit": None, "seconds": 0.0}
        os.write(policy["watch"]["result"], json.dumps(report).encode())
    os._exit(NOT_CONFINED)


def set_limits(policy: Policy) -> None:
    """Limit memory per process, size per file and open files; disable core dumps."""
    for name, value in (
        (resource.RLIMIT_DATA, policy["memory_mb"] * 2**20),
        (resource.RLIMIT_FSIZE, policy["file_mb"] * 2**20),
        (resource.RLIMIT_NOFILE, 4096),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(name)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (limit, limit))


def drop_capabilities() -> None:
    """Drop root's capabilities: a command started as root keeps the user id but loses them on exec."""
    call_prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    if sys.platform == "linux" and os.geteuid() == 0:
        call_prctl(PR_SET_SECUREBITS, SECBIT_NOROOT_LOCKED)


def restrict_with_landlock(policy: Policy) -> None:
    """Allow only the policy's files and TCP ports, and no signals to other processes, as far as Landlock can."""
    if sys.platform != "linux":
        return
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
        return
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
    for path in policy["appendable"]:
        allow_path(rules, path, (AccessFs.MAKE_REG | AccessFs.WRITE_FILE) & files)
    for port in policy["bind_ports"] if abi >= 4 else ():
        rule = NetPortAttr()
        rule.allowed_access, rule.port = AccessNet.BIND_TCP, port
        add_rule(rules, rule)
    call_prctl(PR_SET_NO_NEW_PRIVS, 1)
    restrict_self(rules, None)
    os.close(rules)


def allow_path(rules: Any, path: str, access: int) -> None:
    """Allow this access to the path and everything inside it; nonexistent paths are skipped."""
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


def restrict_system_calls(program: bytes) -> None:
    """Load a seccomp program, if the kernel has seccomp and there is a program for this architecture."""
    if not program or not call_prctl(PR_GET_SECCOMP, 0):
        return
    buffer = ctypes.create_string_buffer(program)
    header = ctypes.create_string_buffer(struct.pack("HP", len(program) // 8, ctypes.addressof(buffer)))
    call_prctl(PR_SET_NO_NEW_PRIVS, 1)
    if not call_prctl(PR_SET_SECCOMP, 2, ctypes.addressof(header)):
        raise OSError(f"seccomp refused the program of {len(program) // 8} instructions")


if __name__ == "__main__":
    main(sys.argv[1:])
