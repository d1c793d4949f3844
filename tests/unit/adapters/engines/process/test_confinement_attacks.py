"""Attacks from inside a confined job, by system call, on real servers, processes and files outside of it.

Each code prints what it got; ``refused`` names the error, so that a call which fails for another reason is no defence.
"""

from __future__ import annotations

import itertools
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from include.adapters.engines.process import system_calls
from include.adapters.engines.process.confinement import run_confined
from include.adapters.engines.process.system_calls import (
    ALWAYS_THERE,
    AUDIT_ARCHITECTURES,
    NEW_PROCESS,
    seccomp_program,
)
from tests.support.ports import free_port
from tests.unit.adapters.engines.process.attacks import attack, needs_table

pytestmark = [pytest.mark.integration, needs_table]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def victim() -> Iterator[psutil.Process]:
    """A process of the same user that is none of the job's."""
    process = subprocess.Popen(["sleep", "600"])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A service on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        yield server


def nobody_came(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except TimeoutError:
        return True
    return False


FAST_OPEN = """
try:
    s = socket.socket()
except OSError as error:
    print("socket", errno.errorcode[error.errno])
else:
    import struct
    port = {port}
    address = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), socket.inet_aton("127.0.0.1"))
    for flags in (0x20000000, 0x20000000 | socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT):
        with socket.socket() as s:
            show("sendto", s.fileno(), b"GET /", 5, flags, address, 16)
        with socket.socket() as s:
            try:
                s.sendmsg([b"GET /"], [], flags, ("127.0.0.1", port))
                print("sendmsg went")
            except OSError as error:
                print("sendmsg", errno.errorcode[error.errno])
        with socket.socket() as s:
            name, data = ctypes.create_string_buffer(address), ctypes.create_string_buffer(b"GET /")
            vector = ctypes.create_string_buffer(struct.pack("PP", ctypes.addressof(data), 5))
            header = struct.pack("PIxxxxPPPPii", ctypes.addressof(name), 16, ctypes.addressof(vector), 1, 0, 0, 0, 0)
            show("sendmmsg", s.fileno(), ctypes.create_string_buffer(header + bytes(8)), 1, flags)
    for option in (23, 30):
        with socket.socket() as s:
            try:
                s.setsockopt(socket.IPPROTO_TCP, option, 1)
                print("setsockopt went")
                s.connect(("127.0.0.1", port))
                s.send(b"GET /")
                print("and connected")
            except OSError as error:
                print("setsockopt", errno.errorcode[error.errno])
    with socket.socket(socket.AF_INET6) as s:
        try:
            s.sendto(b"GET /", 0x20000000, ("::ffff:127.0.0.1", port))
            print("went")
        except OSError as error:
            print("sendto", errno.errorcode[error.errno])
"""


def test_fast_open_reaches_no_service(tmp_path: Path, listener: socket.socket) -> None:
    """It connects while sending, which Landlock does not see."""
    code = FAST_OPEN.format(port=listener.getsockname()[1])
    assert attack(code, tmp_path).output_tail == "socket EACCES\n", "a job without network needs no internet socket"
    assert nobody_came(listener)
    output = attack(code, tmp_path, bind_ports=[free_port()]).output_tail
    assert nobody_came(listener), output
    assert set(output.split()[1::2]) == {"EPERM"}, output
    assert len(output.splitlines()) == 9


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG"])
def test_a_job_without_network_gets_no_socket_of_any_kind(tmp_path: Path, family: str) -> None:
    code = f"""
    for kind in (1, 2, 3, 5, 1 | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC):
        show("socket", int(socket.{family}), kind, 0)
        show("socket", int(socket.{family}) | 1 << 32, kind, 0)  # the kernel takes the lower half
    """
    output = attack(code, tmp_path).output_tail
    assert output == "socket EACCES\n" * 10


def test_a_server_gets_tcp_sockets_only(tmp_path: Path) -> None:
    code = """
    for family, kind, protocol in ((1, 1, 0), (2, 2, 0), (2, 3, 1), (2, 1, 262), (2, 1, 132), (16, 3, 0), (43, 1, 0)):
        show("socket", family, kind, protocol)
    assert call("socket", 2, 1, 0) > 0 and call("socket", 10, 1, 6) > 0
    socket.socketpair()
    """
    done = attack(code, tmp_path, bind_ports=[free_port()])
    assert done.output_tail == "socket EACCES\n" * 7
    assert done.code == 0


def test_a_job_with_network_gets_tcp_and_udp_and_no_unix_socket(tmp_path: Path) -> None:
    code = """
    for family, kind, protocol in ((1, 1, 0), (1, 2, 0), (2, 3, 1), (2, 1, 262), (16, 3, 0), (2, 2, 1)):
        show("socket", family, kind, protocol)
    assert call("socket", 2, 1, 0) > 0 and call("socket", 10, 2, 17) > 0
    show("listen", call("socket", 2, 1, 0), 5)  # the kernel would choose a port
    """
    done = attack(code, tmp_path, connect=True)
    assert done.output_tail == "socket EACCES\n" * 6 + "listen EACCES\n"
    assert done.code == 0


LIMITS = """
import struct
one = ctypes.create_string_buffer(struct.pack("QQ", 1, 1))
for limit in ({cpu}, {memory}, {processes}):
    show("prlimit64", {pid}, limit, one, None)
show("prlimit64", {pid} | 1 << 32, {cpu}, one, None)
"""


def test_limits_of_another_process_can_not_be_set(tmp_path: Path, victim: psutil.Process) -> None:
    """A limit of one second of processor time kills; so does one on memory."""
    before = [victim.rlimit(limit) for limit in (resource.RLIMIT_CPU, resource.RLIMIT_AS)]
    code = LIMITS.format(
        pid=victim.pid, cpu=resource.RLIMIT_CPU, memory=resource.RLIMIT_AS, processes=resource.RLIMIT_NPROC
    )
    assert attack(code, tmp_path).output_tail == "prlimit64 EPERM\n" * 4
    assert [victim.rlimit(limit) for limit in (resource.RLIMIT_CPU, resource.RLIMIT_AS)] == before


CALLS_ON_OTHERS = [
    'call("setpriority", 0, PID, 19)',
    'call("setpriority", 1, os.getpgid(PID), 19)',
    'call("setpriority", 2, 0, 19)',  # of all processes of the user
    'call("ioprio_set", 1, PID, 3 << 13)',
    'call("ioprio_set", 2, os.getpgid(PID), 3 << 13)',
    'call("ioprio_set", 3, os.getuid(), 3 << 13)',
    'call("sched_setaffinity", PID, 8, b"\\1" + bytes(7))',
    'call("sched_setscheduler", PID, 3, bytes(4))',
    'call("sched_setscheduler", PID, 5, bytes(4))',
    'call("sched_setparam", PID, bytes(4))',
    'call("sched_setattr", PID, bytes([48, 0, 0, 0, 3]) + bytes(43), 0)',
    'call("ptrace", 16, PID, 0, 0)',
    'call("ptrace", 0x4206, PID, 0, 0)',
    'call("process_vm_readv", PID, None, 0, None, 0, 0)',
    'call("process_vm_writev", PID, None, 0, None, 0, 0)',
    'call("process_madvise", os.pidfd_open(PID), None, 0, 20, 0)',
    'call("process_mrelease", os.pidfd_open(PID), 0)',
    'call("pidfd_getfd", os.pidfd_open(PID), 0, 0)',
    'call("kcmp", PID, os.getpid(), 0, 0, 0)',
    'call("migrate_pages", PID, 8, bytes(1), bytes(1))',
    'call("move_pages", PID, 0, None, None, None, 0)',
    'call("get_robust_list", PID, ctypes.create_string_buffer(8), ctypes.create_string_buffer(8))',
    'call("perf_event_open", bytes(128), PID, -1, -1, 0)',
    'call("bpf", 0, bytes(64), 64)',
    'call("userfaultfd", 1)',
    'call("keyctl", 0, -3, 1)',
    'call("add_key", b"user", b"x", b"y", 1, -3)',
    'call("request_key", b"user", b"x", None, -3)',
    'call("unshare", 0x10000000)',
    'call("unshare", 0x20000000)',
    'call("setns", os.pidfd_open(PID), 0x40000000)',
    'call("clone", 0x10000000 | 17, 0, 0, 0, 0)',
    'call("clone", 0x20000000 | 0x10000000 | 17, 0, 0, 0, 0)',
    'call("shmget", 1234, 4096, 0o1666)',
    'call("semget", 1234, 1, 0o1666)',
    'call("msgget", 1234, 0o1666)',
    'call("mq_open", b"evergreen", 0o102, 0o600, None)',
    'call("ioctl", 0, 0x5412, b"x")',
    'call("ioctl", 0, 0x541C, b"x")',
]


def test_calls_on_others_and_into_rarely_used_parts_of_the_kernel_are_refused(
    tmp_path: Path, victim: psutil.Process
) -> None:
    before = (victim.nice(), victim.ionice(), victim.cpu_affinity())
    calls = [call.replace("PID", str(victim.pid)) for call in CALLS_ON_OTHERS]
    output = attack(f"for text in {calls!r}:\n    print(errno.errorcode.get(-eval(text)), text)", tmp_path).output_tail
    assert output.splitlines() == [f"EPERM {call}" for call in calls]
    assert (victim.nice(), victim.ionice(), victim.cpu_affinity()) == before
    assert victim.status() != psutil.STATUS_STOPPED


def test_calls_newer_than_the_table_and_of_32_bits_do_not_exist(tmp_path: Path) -> None:
    code = """
    import mmap
    show("mseal", 0, 0, 0)
    show("clone3", None, 0)
    show("io_uring_setup", 1, bytes(120))
    print(libc.syscall(ctypes.c_long(0x40000000 + 41), 2, 1, 0), errno.errorcode[ctypes.get_errno()])
    if platform.machine() == "x86_64":
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        # mov eax, 359 (socket, 32 bits); mov ebx, 2; mov ecx, 1; xor edx, edx; int 0x80
        page.write(bytes.fromhex("53b867010000bb02000000b90100000031d2cd805bc3"))
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        print("32 bits", ctypes.CFUNCTYPE(ctypes.c_int)(address)())
    """
    output = attack(code, tmp_path).output_tail.splitlines()
    assert output[:4] == ["mseal ENOSYS", "clone3 ENOSYS", "io_uring_setup ENOSYS", "-1 ENOSYS"]
    assert output[4:] in ([], ["32 bits -1"])


def test_what_python_and_numeric_libraries_do_to_themselves_still_works(tmp_path: Path) -> None:
    code = """
    import multiprocessing, resource, subprocess, threading
    resource.setrlimit(resource.RLIMIT_CPU, (20, 30)); resource.getrlimit(resource.RLIMIT_AS)
    resource.prlimit(0, resource.RLIMIT_CPU)
    os.nice(1); os.sched_setaffinity(0, os.sched_getaffinity(0)); os.sched_getaffinity(os.getpid())
    os.getpriority(os.PRIO_PROCESS, 0); os.getpriority(os.PRIO_PROCESS, os.getpid())
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    thread = threading.Thread(target=print, args=["thread"]); thread.start(); thread.join()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(abs, [-1, -2]))
    """
    done = attack(code, tmp_path)
    assert (done.code, done.output_tail) == (0, "thread\n[1, 2]\n"), done.output_tail


def test_joblib_and_loky_still_work(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    script = tmp_path / "work.py"
    script.write_text(
        "import joblib, numpy\n"
        "if __name__ == '__main__':\n"
        "    values = joblib.Parallel(2, backend='loky')(joblib.delayed(numpy.square)(n) for n in range(4))\n"
        "    print([int(value) for value in values], (numpy.ones((300, 300)) @ numpy.ones((300, 300)))[0, 0])\n"
    )
    done = run_confined(
        [sys.executable, str(script)],
        cwd=tmp_path, readable=[tmp_path], writable=[], scratch=tmp_path / "scratch", log=None,
        time_limit=60, memory_mb=2048,
    )  # fmt: skip
    assert done.code == 0, done.output_tail
    assert "[0, 1, 4, 9] 300.0" in done.output_tail


@pytest.mark.parametrize("machine", AUDIT_ARCHITECTURES)
def test_every_way_through_the_program_ends_inside_it(machine: Any) -> None:
    """Also for the machine that the tests don't run on."""
    import struct

    for bind, connect, fork in itertools.product((False, True), repeat=3):
        code = seccomp_program(bind=bind, connect=connect, fork=fork, machine=machine)
        program = list(struct.iter_unpack("HBBI", code))
        for place, (operation, if_true, if_false, _) in enumerate(program):
            if operation & 7 == 5:
                assert place + 1 + max(if_true, if_false) < len(program)
        assert program[-1][0] & 7 == 6
    assert seccomp_program(bind=False, connect=False, fork=True, machine="riscv64") == b""


@pytest.mark.needs("kernel_headers")
@pytest.mark.parametrize(
    "machine, header", [("x86_64", "x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "asm-generic/unistd.h")]
)
def test_the_tables_numbers_are_the_kernels(machine: str, header: str) -> None:
    known = {}
    for line in (Path("/usr/include") / header).read_text().splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "#define" and words[2].isdigit():
            known[words[1].replace("__NR3264_", "__NR_").removeprefix("__NR_")] = int(words[2])
    of_sockets = [call for connect in (True, False) for call in system_calls.socket_calls(bind=False, connect=connect)]
    for call in (*ALWAYS_THERE, *NEW_PROCESS, *of_sockets):
        assert getattr(call, machine) == known.get(call.name), call.name
