"""Runs a model team's code without access to the platform's environment, keys, files or network.

A commit's code is untrusted: it runs in a process with a clean environment, has access only to the system's libraries,
its own Python and its inputs, and has time and memory limits. Landlock restricts files and TCP ports, and seccomp other
sockets, if the kernel supports them; :func:`isolation` returns the protection on this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Literal

from include.adapters.engines.process.confinement_guard import Policy
from include.core.errors import PlatformError

LAUNCHER = Path(__file__).with_name("confinement_launcher.py")
MOUNTS = Path(__file__).with_name("confinement_mounts.py")
NOT_CONFINED = 125
FILE_MB = 8192
PROCESSES = 4096
TAIL_BYTES = 16_000

# System files that any program needs: libraries, locale, time zone, certificates, name resolution; no keys, no homes.
SYSTEM = [
    *("/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/proc"),
    *(f"/usr/{name}" for name in ("bin", "lib", "lib32", "lib64", "libexec", "libx32", "sbin", "share", "include")),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/timezone"),
    *("/etc/locale.alias", "/etc/mime.types"),
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls", "/etc/ca-certificates"),
    *("/etc/alternatives", "/etc/os-release", "/etc/debian_version", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf"),
    *("/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols"),
    *("/dev/urandom", "/dev/random", "/dev/zero", "/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm"),
]
# Folders of a Python installation; its prefix may contain much else, such as /usr/local.
PREFIX = ("bin", "include", "lib", "lib64", "share")
DEVICES = ["/dev/null", "/dev/full", "/dev/shm"]

Limit = Literal["time", "memory", "processes", "disk"]
NO_MEMORY = re.compile(
    r"MemoryError|std::bad_alloc|cannot allocate memory|unable to allocate|allocation still failed|out of memory",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Completed:
    """How a confined command ended."""

    code: int
    """Exit code; negative: the signal that killed it."""
    output_tail: str
    """The tail of its output (stdout and stderr combined)."""
    seconds: float
    limit: Limit | None
    """The limit that it exceeded, if any."""


def run_confined(
    command: Sequence[str],
    *,
    cwd: Path,
    readable: Sequence[Path],
    writable: Sequence[Path],
    scratch: Path,
    log: Path | None,
    time_limit: float,
    memory_mb: int,
    file_mb: int = FILE_MB,
    processes: int = PROCESSES,
    disk_mb: int | None = None,
    env: Mapping[str, str] | None = None,
    bind_ports: Sequence[int] = (),
    connect: bool = False,
    link_across: bool = False,
) -> Completed:
    """Run a command, confined, until it exits; afterwards all processes that it started have ended.

    ``command[0]`` is an absolute path. ``env`` is passed through a descriptor: anyone may read a command line, and it
    may contain passwords of package indexes. ``readable`` and ``writable`` are files or folders in addition to the
    system's libraries and the command's own Python; ``cwd`` is not included automatically. HOME and TMPDIR are a folder
    in ``scratch`` that is removed afterwards.

    ``time_limit`` is in seconds of wall time; ``memory_mb`` (MiB) applies to each process and to all of them together,
    ``file_mb`` to each file that it writes, ``disk_mb`` (None: no limit) to all its files and its output together,
    ``processes`` to all processes and threads at one time.

    TCP is refused except for listening on ``bind_ports`` and, with ``connect``, connecting. ``link_across``: whether it
    may move and link files between its writable folders, for which the rest of the file system can't be made read-only.
    Output is written to ``log`` (overwritten).

    Raises PlatformError if the confinement itself could not be set up.
    """
    home = Path(tempfile.mkdtemp(prefix="job-", dir=_made(scratch)))
    receive, send = os.pipe()
    policy = _policy(command, cwd, readable, writable, home, memory_mb, env, bind_ports, connect)
    policy["file_mb"], policy["read_only"] = file_mb, policy["read_only"] and not link_across
    policy["watch"] = {
        "time_limit": time_limit,
        "processes": processes,
        "disk_mb": disk_mb,
        "folders": [str(path) for path in (home, *writable) if path.is_dir()],
        "parent": os.getpid(),
        "result": send,
    }
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, receive)
        output = stack.enter_context(open(log, "w+b") if log else tempfile.TemporaryFile())  # noqa: SIM115 - entered
        handed = stack.enter_context(tempfile.TemporaryFile())
        handed.write(json.dumps(policy).encode())
        handed.seek(0)
        try:
            launcher = subprocess.Popen(
                _launch(str(handed.fileno()), command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/bin:/bin"},
                pass_fds=[send, handed.fileno()],
                start_new_session=True,
            )
        finally:
            os.close(send)
        try:
            launcher.wait()
        except BaseException:
            launcher.terminate()
            launcher.wait()
            raise
        report = os.read(receive, 4096)
        tail = _tail(output)
    if not report:
        raise PlatformError(f"{command[0]} was aborted: its guard exited with code {launcher.returncode}. {tail}")
    result = json.loads(report)
    if result["code"] == NOT_CONFINED and "could not confine" in tail:
        raise PlatformError(f"{tail.strip()}. Nothing was run.")
    limit = result["limit"]
    if limit is None and result["code"] > 0 and NO_MEMORY.search(tail):
        limit = "memory"
    return Completed(result["code"], tail, result["seconds"], limit)


def confined_command(
    command: Sequence[str],
    *,
    cwd: Path,
    readable: Sequence[Path],
    writable: Sequence[Path],
    scratch: Path,
    memory_mb: int,
    appendable: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
    listen: tuple[str, int] | None = None,
    bind_ports: Sequence[int] = (),
    connect: bool = False,
) -> list[str]:
    """A command line that confines itself like :func:`run_confined` and then becomes ``command``.

    ``appendable``: folders in which it may create files and write to them, but not read, shorten, rename or remove any.
    ``env`` is part of the command line, so it must not contain secrets. ``listen``: host and port of the one socket on
    which it may listen; it is bound already, and its descriptor is in the variable EVERGREEN_SOCKET.
    For servers under a supervisor: the process id stays the same, so that signals reach the server. It can't start
    other processes. A restart clears its HOME and TMPDIR.
    """
    name = hashlib.sha256("\0".join([str(cwd), *command]).encode()).hexdigest()[:16]
    home = _made(scratch) / f"server-{name}"
    policy = _policy(command, cwd, readable, writable, home, memory_mb, env, bind_ports, connect)
    policy["appendable"], policy["listen"] = [str(path) for path in appendable], listen
    return _launch(json.dumps(policy), command)


@lru_cache(maxsize=1)
def isolation() -> Literal["landlock+mounts", "landlock", "environment"]:
    """The protection on this machine.

    ``landlock`` if the kernel restricts files and network, ``+mounts`` if it also allows a read-only view of the file
    system; else ``environment``: clean environment and limits.
    """
    if sys.platform == "linux":
        from py_landlock import LandlockError, get_abi_version

        with contextlib.suppress(LandlockError):
            if get_abi_version() >= 1:
                return "landlock+mounts" if can_make_read_only() else "landlock"
    return "environment"


@lru_cache(maxsize=1)
def can_make_read_only() -> bool:
    """Whether this machine allows jobs and servers a read-only view of the file system (mount namespaces)."""
    if sys.platform != "linux":
        return False
    tried = subprocess.run([sys.executable, "-I", str(MOUNTS)], capture_output=True, check=False)
    return tried.returncode == 0


def _policy(
    command: Sequence[str],
    cwd: Path,
    readable: Sequence[Path],
    writable: Sequence[Path],
    scratch: Path,
    memory_mb: int,
    env: Mapping[str, str] | None,
    bind_ports: Sequence[int],
    connect: bool,
) -> Policy:
    if not os.path.isabs(command[0]):
        raise ValueError(f"'{command[0]}' must be an absolute path: confined commands are not looked up on PATH.")
    return {
        "cwd": str(cwd),
        "readable": [*SYSTEM, *_python_folders(Path(command[0])), *(str(path) for path in readable)],
        "writable": [*DEVICES, *(str(path) for path in writable)],
        "appendable": [],
        "read_only": can_make_read_only(),
        "scratch": str(scratch),
        "memory_mb": memory_mb,
        "file_mb": FILE_MB,
        "listen": None,
        "bind_ports": list(bind_ports),
        "connect": connect,
        "env": {
            "PATH": f"{Path(command[0]).parent}:/usr/bin:/bin",
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "JOBLIB_TEMP_FOLDER": str(scratch),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONNOUSERSITE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **(env or {}),
        },
    }


def _python_folders(executable: Path) -> list[str]:
    """The virtual environment of an executable, and the Python installation that it was created from."""
    environment = executable.parent.parent
    if not (environment / "pyvenv.cfg").is_file():
        return []
    prefix = (environment / "bin" / "python").resolve().parent.parent
    return [str(environment), str(environment.resolve()), *(str(prefix / name) for name in PREFIX)]


def _launch(policy: str, command: Sequence[str]) -> list[str]:
    """The launcher's command line; ``policy`` is JSON, or the number of a descriptor from which to read it."""
    return [sys.executable, "-I", str(LAUNCHER), policy, "--", *command]


def _made(scratch: Path) -> Path:
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    return scratch


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - TAIL_BYTES))
    return output.read().decode("utf-8", errors="replace")
