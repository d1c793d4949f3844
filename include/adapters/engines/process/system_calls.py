"""The table of system calls that model code may not use, and the seccomp program generated from it.

Landlock restricts files, TCP ports and signals. Seccomp only sees the number and the plain arguments of a call, and
covers what Landlock does not: sockets, and calls that affect another process. Everything else is allowed, except calls
newer than the table: they fail with "no such call", for which libraries have a fallback.
"""

from __future__ import annotations

import errno
import platform
import struct
import sys
from typing import NamedTuple

AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
FIRST_UNKNOWN = 450
"""Calls from this number on are newer than the table, on all architectures; x32's numbers are far higher."""

AF_INET, AF_INET6 = 2, 10
SOCK_STREAM, SOCK_DGRAM, SOCK_TYPE_MASK = 1, 2, 0xF
IPPROTO_TCP, IPPROTO_UDP = 6, 17
MSG_FASTOPEN, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT = 0x20000000, 23, 30
NEW_NAMESPACES, CLONE_THREAD = 0x7E020000, 0x10000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
WORD = 0xFFFFFFFF


class Test(NamedTuple):
    """One comparison of an argument's lower 32 bits: ``argument & mask == value``, or ``!=``."""

    argument: int
    value: int
    equal: bool = True
    mask: int = WORD


class Refused(NamedTuple):
    """A call, its number on each architecture (None: does not exist), and when it is refused."""

    name: str
    x86_64: int | None
    aarch64: int | None
    when: tuple[tuple[Test, ...], ...] = ((),)
    """Refused if all tests of any of these tuples are true; an empty tuple is always true."""
    answer: int = errno.EPERM


def has(argument: int, bits: int) -> Test:
    """A test whether any of these bits is set."""
    return Test(argument, 0, equal=False, mask=bits)


def differs(argument: int, value: int) -> Test:
    """A test whether an argument differs from a value."""
    return Test(argument, value, equal=False)


# Calls with a process id are refused unless it is 0, the caller itself: the filter is the same for all processes of a
# job, so it can't know their ids.
OTHER_PROCESS = ((differs(0, 0),),)
OTHER_OWNER = ((differs(1, 0),), (differs(0, 0),))  # of setpriority(2): PRIO_PROCESS is 0
OTHER_IO_OWNER = ((differs(1, 0),), (differs(0, 1),))  # of ioprio_set(2): IOPRIO_WHO_PROCESS is 1

ALWAYS_THERE = (
    # Limits, priorities, CPUs and scheduling of other processes
    Refused("prlimit64", 302, 261, OTHER_PROCESS),
    Refused("sched_setaffinity", 203, 122, OTHER_PROCESS),
    Refused("sched_setscheduler", 144, 119, OTHER_PROCESS),
    Refused("sched_setparam", 142, 118, OTHER_PROCESS),
    Refused("sched_setattr", 314, 274, OTHER_PROCESS),
    Refused("setpriority", 141, 140, OTHER_OWNER),
    Refused("ioprio_set", 251, 30, OTHER_IO_OWNER),
    # Memory and descriptors of other processes
    Refused("ptrace", 101, 117),
    Refused("process_vm_readv", 310, 270),
    Refused("process_vm_writev", 311, 271),
    Refused("process_madvise", 440, 440),
    Refused("process_mrelease", 448, 448),
    Refused("pidfd_getfd", 438, 438),
    Refused("kcmp", 312, 272),
    Refused("migrate_pages", 256, 238),
    Refused("move_pages", 279, 239),
    Refused("get_robust_list", 274, 100, OTHER_PROCESS),
    Refused("perf_event_open", 298, 241),
    # Large parts of the kernel that no numeric library needs
    Refused("bpf", 321, 280),
    Refused("userfaultfd", 323, 282),
    Refused("keyctl", 250, 219),
    Refused("add_key", 248, 217),
    Refused("request_key", 249, 218),
    Refused("io_uring_setup", 425, 425, answer=errno.ENOSYS),
    Refused("io_uring_enter", 426, 426, answer=errno.ENOSYS),
    Refused("io_uring_register", 427, 427, answer=errno.ENOSYS),
    # Namespaces, in which a process has capabilities; clone3 reads its flags from memory, which a filter can't inspect
    Refused("unshare", 272, 97),
    Refused("setns", 308, 268),
    Refused("clone", 56, 220, ((has(0, NEW_NAMESPACES),),)),
    Refused("clone3", 435, 435, answer=errno.ENOSYS),
    # Kernel objects that outlive all processes of the job and that no limit covers
    Refused("shmget", 29, 194),
    Refused("semget", 64, 190),
    Refused("msgget", 68, 186),
    Refused("mq_open", 240, 180),
    # Memory that belongs to no process while it is not mapped, so that no limit counts it
    Refused("memfd_create", 319, 279, answer=errno.ENOSYS),
    Refused("memfd_secret", 447, 447, answer=errno.ENOSYS),
    # Typing into a terminal
    Refused("ioctl", 16, 29, ((Test(1, TIOCSTI),), (Test(1, TIOCLINUX),))),
    # TCP Fast Open connects without connect(2), and therefore bypasses Landlock
    Refused("sendto", 44, 206, ((has(3, MSG_FASTOPEN),),)),
    Refused("sendmsg", 46, 211, ((has(2, MSG_FASTOPEN),),)),
    Refused("sendmmsg", 307, 269, ((has(3, MSG_FASTOPEN),),)),
    Refused(
        "setsockopt",
        54,
        208,
        (
            (Test(1, IPPROTO_TCP), Test(2, TCP_FASTOPEN)),
            (Test(1, IPPROTO_TCP), Test(2, TCP_FASTOPEN_CONNECT)),
        ),
    ),
)


NEW_PROCESS = (
    Refused("fork", 57, None),
    Refused("vfork", 58, None),
    Refused("clone", 56, 220, ((has(0, NEW_NAMESPACES),), (Test(0, 0, mask=CLONE_THREAD),))),
)
"""Refused to servers, whose memory is limited for each process: a server may start threads only."""


def socket_calls(*, bind: bool, connect: bool) -> list[Refused]:
    """The refused sockets: all; with ``bind`` all but TCP; with ``connect`` all but TCP and UDP.

    A unix socket could reach the platform's own services (supervisord, Caddy, Docker) by path; MPTCP, SCTP and others
    would bypass Landlock's TCP rules. socketpair(2), which can't reach other processes, is a different call.

    A socket that listens without having been bound gets a port from the kernel, which Landlock does not see. So what
    connects may not listen, and a server gets its socket from outside; it may neither bind nor connect that one.
    """
    kind = SOCK_TYPE_MASK
    stream, datagram = Test(1, SOCK_STREAM, mask=kind), Test(1, SOCK_DGRAM, mask=kind)
    refused: tuple[tuple[Test, ...], ...] = ((),)
    if bind or connect:
        refused = (
            (differs(0, AF_INET), differs(0, AF_INET6)),
            (stream, differs(2, 0), differs(2, IPPROTO_TCP)),
            (Test(1, SOCK_STREAM, False, kind), Test(1, SOCK_DGRAM, False, kind)),
            (datagram, differs(2, 0), differs(2, IPPROTO_UDP)) if connect else (datagram,),
        )
    calls = [Refused("socket", 41, 198, refused, errno.EACCES)]
    if connect:
        calls += [Refused("listen", 50, 201, answer=errno.EACCES)]
    elif not bind:
        calls += [
            Refused("bind", 49, 200, answer=errno.EACCES),
            Refused("connect", 42, 203, answer=errno.EACCES),
        ]
    return calls


def seccomp_program(*, bind: bool, connect: bool, fork: bool, machine: str | None = None) -> bytes:
    """The filter in the format of prctl(2); empty on architectures that are not in the table.

    ``bind``, ``connect``: whether it may have sockets for that; ``fork``: whether it may start processes.

    Calls of another architecture (32 bits) are refused, because their numbers differ.
    """
    machine = machine or (platform.machine() if sys.platform == "linux" else "")
    architecture = AUDIT_ARCHITECTURES.get(machine)
    if architecture is None:
        return b""
    program = [
        _LOAD_ARCHITECTURE,
        (_EQUAL, 1, 0, architecture),
        _refuse(errno.EPERM),
        _LOAD_NUMBER,
        (_AT_LEAST, 0, 1, FIRST_UNKNOWN),
        _refuse(errno.ENOSYS),
    ]
    calls = {call.name: call for call in (*ALWAYS_THERE, *(() if fork else NEW_PROCESS))}
    for call in (*calls.values(), *socket_calls(bind=bind, connect=connect)):
        number = getattr(call, machine)
        if number is not None:
            rule = _compile(call)
            program += [(_EQUAL, 0, len(rule), number), *rule]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in [*program, _ALLOW])


Instruction = tuple[int, int, int, int]
"""A classic BPF instruction: operation, number of instructions to skip if true and if false, and a constant."""

_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW: Instruction = (_RETURN, 0, 0, 0x7FFF0000)
_LOAD_NUMBER: Instruction = (_LOAD, 0, 0, 0)
_LOAD_ARCHITECTURE: Instruction = (_LOAD, 0, 0, 4)


def _refuse(answer: int) -> Instruction:
    return (_RETURN, 0, 0, 0x00050000 | answer)


def _compile(call: Refused) -> list[Instruction]:
    """The instructions for this call; every path through them ends with a return."""
    rule: list[Instruction] = []
    for tests in call.when:
        alternative: list[Instruction] = [_refuse(call.answer)]
        for test in reversed(tests):
            otherwise = len(alternative)
            compare = (_EQUAL, 0, otherwise, test.value) if test.equal else (_EQUAL, otherwise, 0, test.value)
            load = (_LOAD, 0, 0, 16 + 8 * test.argument)
            masked = [] if test.mask == WORD else [(_AND, 0, 0, test.mask)]
            alternative = [load, *masked, compare, *alternative]
        rule += alternative
    return rule if call.when[-1] == () else [*rule, _ALLOW]
