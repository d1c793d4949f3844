"""One command in a container of its own, to its end: a check, a training, a scoring.

It has no network, no capabilities and no platform environment, a read-only root, and limits of time, memory,
processors and processes. Its files lie in a volume at the platform's own home, so that paths are the same on both
sides, and the Docker host may be another machine. The container goes when the command has ended, whatever happened;
one whose task was killed ends by itself at its time limit, and the next job removes it.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.types import LogConfig, Ulimit

from include.adapters.confinement import FILE_MB, NO_MEMORY, TAIL_BYTES, Completed
from include.adapters.container_files import USER, archive, take_out
from include.adapters.docker_client import docker_errors, labels, open_client, with_labels
from include.core.errors import PlatformError
from include.settings import settings

TMP_MB = 256
OUTPUT_BYTES = 16 * 2**20
"""More than this of a command's output goes neither into its log nor the task's."""
GRACE_SECONDS = 30
HARDENED: dict[str, Any] = {
    "user": f"{USER}:{USER}",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": f"size={TMP_MB}m,mode=1777,nosuid,nodev"},
    "init": True,
    "use_config_proxy": False,
}
"""What every container gets that runs a model's code."""


@dataclass(frozen=True)
class Limits:
    """What a container may use."""

    memory_mb: int
    processes: int
    cpus: float | None = None
    file_mb: int | None = None

    def options(self, host_cpus: int) -> dict[str, Any]:
        """The same, as the engine's options; swap would only hide that memory is out."""
        more: dict[str, Any] = {}
        if self.file_mb:
            more["ulimits"] = [Ulimit(name="fsize", soft=self.file_mb * 2**20, hard=self.file_mb * 2**20)]
        return {
            "mem_limit": self.memory_mb * 2**20,
            "memswap_limit": self.memory_mb * 2**20,
            "pids_limit": self.processes,
            "nano_cpus": int(min(self.cpus or host_cpus, host_cpus) * 1e9),
            **more,
        }


def run_in_container(
    image: str,
    command: Sequence[str],
    *,
    cwd: Path,
    readable: Sequence[Path],
    writable: Path,
    log: Path,
    time_limit: float,
    limits: Limits,
    about: Mapping[str, str],
) -> Completed:
    """Run a command in ``image`` to its end; see :meth:`include.adapters.engine.Engine.run`.

    ``about`` goes into the container's labels. Raises PlatformError when the engine is gone.
    """
    sweep()
    log.unlink(missing_ok=True)  # else an earlier try's would come back out of the container
    started = time.monotonic()
    with docker_errors():
        client = open_client()
        container = client.containers.create(
            image,
            ["timeout", "--kill-after=1", f"{time_limit + GRACE_SECONDS:.0f}", *command],
            working_dir=str(cwd),
            network_mode="none",
            volumes=[str(settings().home)],
            log_config=LogConfig(type="none"),
            labels=job_labels(time_limit, about),
            **limits.options(client.info()["NCPU"]),
            **HARDENED,
        )
        try:
            _put_in(container, readable, writable)
            output = _Output(log)
            reader = threading.Thread(target=output.copy, args=(container.attach(stream=True),), daemon=True)
            container.start()
            reader.start()
            limit: Literal["time", "memory"] | None = _await_end(container, time_limit)
            reader.join(GRACE_SECONDS)
            container.reload()
            chunks, _ = container.get_archive(str(writable))
            take_out(chunks, writable, largest_bytes=FILE_MB * 2**20)
        finally:
            with contextlib.suppress(NotFound):
                container.remove(force=True, v=True)
    output.close()
    code = _exit_code(container.attrs["State"]["ExitCode"])
    if limit is None and code != 0 and (container.attrs["State"]["OOMKilled"] or NO_MEMORY.search(output.tail)):
        limit = "memory"
    return Completed(code, output.tail, time.monotonic() - started, limit)


def sweep() -> list[str]:
    """Remove containers of jobs whose task was killed; returns their names."""
    removed = []
    with docker_errors():
        for container in open_client().containers.list(all=True, filters=with_labels("job"), ignore_removed=True):
            if not _is_left_over(container.labels):
                continue
            with contextlib.suppress(APIError):  # another sweep was faster
                container.remove(force=True, v=True)
                removed.append(str(container.name))
    return removed


def job_labels(time_limit: float, about: Mapping[str, str] | None = None) -> dict[str, str]:
    """The labels of a container that must not outlive the process that made it, nor ``time_limit`` (seconds)."""
    me = psutil.Process()
    owner = {"host": socket.gethostname(), "pid": str(me.pid), "since": str(me.create_time())}
    return labels("job", until=f"{time.time() + time_limit + 4 * GRACE_SECONDS:.0f}", **owner, **(about or {}))


def _is_left_over(values: Mapping[str, str]) -> bool:
    if float(values.get("evergreen.until", 0)) < time.time():
        return True
    if values.get("evergreen.host") != socket.gethostname():
        return False
    try:
        owner = psutil.Process(int(values["evergreen.pid"]))
        return owner.status() == psutil.STATUS_ZOMBIE or str(owner.create_time()) != values["evergreen.since"]
    except psutil.NoSuchProcess:
        return True


def _put_in(container: Container, readable: Sequence[Path], writable: Path) -> None:
    with tempfile.TemporaryFile() as file:
        for owner, paths in ((0, readable), (USER, [writable])):
            file.seek(0)
            file.truncate()
            archive({_place(path): path.resolve() for path in paths}, into=file, owner=owner)
            file.seek(0)
            container.put_archive(str(settings().home), file)


def _place(path: Path) -> str:
    home = settings().home
    if not path.is_relative_to(home):
        raise PlatformError(f"{path} is not below {home}, so no container can be given it. Move it there.")
    return str(path.relative_to(home))


def _await_end(container: Container, time_limit: float) -> Literal["time"] | None:
    """Wait for the container to end, or end it when its time is over."""
    deadline = time.monotonic() + time_limit
    while (left := deadline - time.monotonic()) > 0:
        container.reload()
        if container.status in ("exited", "dead"):
            return None
        time.sleep(min(0.1, left))
    container.kill()
    container.wait(timeout=GRACE_SECONDS)
    return "time"


def _exit_code(code: int) -> int:
    """Negative for a signal, as of a process: the container's first process says 128 more than the signal."""
    return 128 - code if code - 128 in set(signal.Signals) else code


@dataclass
class _Output:
    """What a command prints: into its log and, line by line, to stdout, while it runs."""

    log: Path
    tail: str = ""
    _left: int = OUTPUT_BYTES
    _line: bytes = field(default=b"", repr=False)

    def copy(self, chunks: Iterable[bytes]) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as file:
            for chunk in chunks:
                part = chunk[: self._left]
                self._left -= len(part)
                file.write(part)
                file.flush()
                self._show(part)
                if part and not self._left:
                    print(f"(more than {OUTPUT_BYTES // 2**20} MiB of output: the rest is left out)", flush=True)

    def _show(self, part: bytes) -> None:
        *lines, self._line = (self._line + part).split(b"\n")
        for line in lines:
            self._print(line)

    def close(self) -> None:
        if self._line:
            self._print(self._line)

    def _print(self, line: bytes) -> None:
        text = line.decode("utf-8", errors="replace")
        self.tail = (self.tail + text + "\n")[-TAIL_BYTES:]
        print(text, flush=True)
