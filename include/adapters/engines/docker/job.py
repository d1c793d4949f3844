"""Runs one command (a check, a training, a scoring) in its own container until it exits.

It has no network, no capabilities and none of the platform's environment, a read-only root, and limits on time, memory,
CPUs and processes. Its files are in a volume at the same path as the platform's home, so that paths are the same on
both sides, and the Docker host may be another machine. The container is removed after the command, whatever happened.

A container whose task was killed keeps running, at most until its time limit. The next try of the Airflow task
reattaches to it if it would start an identical job: labels name the task, and a hash of the image, the command and all
the files. Containers to which no task can reattach are removed by the next job.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BufferedRandom
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

import psutil
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.types import LogConfig, Ulimit

from include.adapters.engines.docker.archives import USER, archive, take_out
from include.adapters.engines.docker.client import DockerHost
from include.adapters.engines.process.confinement import FILE_MB, NO_MEMORY, TAIL_BYTES, Completed, Limit
from include.core.errors import PlatformError

_log = logging.getLogger(__name__)

TMP_MB = 256
OUTPUT_BYTES = 16 * 2**20
"""Output beyond this size goes neither to the command's log nor to the task's."""
GRACE_SECONDS = 30
DISK_SECONDS = 5.0
"""Time between two looks at how much disk a job uses."""
UNMEASURED_LOOKS, UNMEASURED_SECONDS = 3, 1.0
"""What can't be measured in so many looks in a row, this far apart, counts as too much. A container that is ending
can't be, and its state says so a moment later."""


class Hardening(TypedDict):
    """Container options that remove what a model's code does not need."""

    user: str
    read_only: bool
    cap_drop: list[str]
    security_opt: list[str]
    tmpfs: dict[str, str]
    init: bool
    use_config_proxy: bool


class LimitOptions(TypedDict):
    """Container options that limit resources."""

    mem_limit: int
    """In bytes, like the next field."""
    memswap_limit: int
    pids_limit: int
    nano_cpus: int
    ulimits: NotRequired[list[Ulimit]]


HARDENED: Hardening = {
    "user": f"{USER}:{USER}",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": f"size={TMP_MB}m,mode=1777,nosuid,nodev"},
    "init": True,
    "use_config_proxy": False,
}
"""Options of every container that runs a model's code."""


@dataclass(frozen=True)
class Limits:
    """A container's resource limits."""

    memory_mb: int
    processes: int
    cpus: float | None = None
    file_mb: int | None = None
    disk_mb: int | None = None
    """Of all files in the job's folders; Docker has no limit for them, so they are measured."""

    def options(self, host_cpus: int) -> LimitOptions:
        """The limits as Docker's options; no swap, which would only hide that memory is exhausted."""
        options: LimitOptions = {
            "mem_limit": self.memory_mb * 2**20,
            "memswap_limit": self.memory_mb * 2**20,
            "pids_limit": self.processes,
            "nano_cpus": int(min(self.cpus or host_cpus, host_cpus) * 1e9),
        }
        if self.file_mb:
            options["ulimits"] = [Ulimit(name="fsize", soft=self.file_mb * 2**20, hard=self.file_mb * 2**20)]
        return options


def run_in_container(
    host: DockerHost,
    image: str,
    command: Sequence[str],
    *,
    cwd: Path,
    readable: Sequence[Path],
    writable: Path,
    log: Path,
    time_limit: float,
    limits: Limits,
    network: bool,
    environment: Mapping[str, str],
    about: Mapping[str, str],
) -> Completed:
    """Run a command in ``image`` until it exits; see :meth:`include.adapters.engines.contract.Engine.run`.

    ``environment`` has additional variables. With ``network`` it joins the Docker host's default network, else none.
    ``about`` is added to the container's labels. Raises PlatformError if the Docker Engine does not respond.
    """
    sweep(host)
    with host.errors(), _inputs(host.settings.home, readable, writable) as inputs:
        network_mode = "bridge" if network else "none"
        job = _job_hash([image, network_mode, str(cwd), f"{limits} {time_limit}", *command], inputs)
        container = _left_by_earlier_try(host, job)
        if container is None:
            client = host.client
            container = client.containers.create(
                image,
                ["timeout", "--kill-after=1", f"{time_limit + GRACE_SECONDS:.0f}", *command],
                working_dir=str(cwd),
                network_mode=network_mode,
                environment=dict(environment),
                volumes=[str(host.settings.home)],
                log_config=LogConfig(type="json-file", config={"max-size": f"{OUTPUT_BYTES // 2**20}m"}),
                labels=job_labels(host, time_limit, {**about, "job": job}),
                **limits.options(client.info()["NCPU"]),
                **HARDENED,
            )
        else:
            _log.info("reattaching to container %s, which an earlier try of this task started", container.name)
        try:
            if container.status == "created":
                for file in inputs:
                    file.seek(0)
                    container.put_archive(str(host.settings.home), file)
                container.start()
            output = _Output(log)
            reader = threading.Thread(target=output.copy, args=(container.logs(stream=True, follow=True),), daemon=True)
            reader.start()
            limit: Limit | None = _await_end(container, time_limit, str(writable), limits.disk_mb)
            reader.join(GRACE_SECONDS)
            container.reload()
            chunks, _ = container.get_archive(str(writable))
            take_out(chunks, writable, largest_bytes=FILE_MB * 2**20)
        finally:
            with contextlib.suppress(NotFound):
                container.remove(force=True, v=True)
    output.close()
    state = container.attrs["State"]
    code = _exit_code(state["ExitCode"])
    if limit is None and code != 0 and (state["OOMKilled"] or NO_MEMORY.search(output.tail)):
        limit = "memory"
    seconds = datetime.fromisoformat(state["FinishedAt"]) - datetime.fromisoformat(state["StartedAt"])
    return Completed(code, output.tail, seconds.total_seconds(), limit)


def sweep(host: DockerHost) -> list[str]:
    """Remove containers of jobs whose task was killed; returns their names."""
    removed = []
    with host.errors():
        for container in host.client.containers.list(all=True, filters=host.with_labels("job"), ignore_removed=True):
            if not _is_left_over(container.labels):
                continue
            with contextlib.suppress(APIError):  # another sweep was faster
                container.remove(force=True, v=True)
                removed.append(str(container.name))
    return removed


def job_labels(host: DockerHost, time_limit: float, about: Mapping[str, str] | None = None) -> dict[str, str]:
    """The labels of a container that must outlive neither its creator nor ``time_limit`` (seconds).

    The creator is the Airflow task, in any try; outside Airflow, this process.
    """
    me = psutil.Process()
    owner = {"host": socket.gethostname(), "pid": str(me.pid), "since": str(me.create_time()), "task": _task()}
    return host.labels("job", until=f"{time.time() + time_limit + 4 * GRACE_SECONDS:.0f}", **owner, **(about or {}))


def _task() -> str:
    """The Airflow task instance that this process runs, regardless of the try; empty outside a task."""
    parts = [os.environ.get(f"AIRFLOW_CTX_{name}", "") for name in ("DAG_ID", "DAG_RUN_ID", "TASK_ID")]
    return "/".join(parts) if all(parts) else ""


def _job_hash(what: Sequence[str], inputs: Iterable[BufferedRandom]) -> str:
    digest = hashlib.sha256(json.dumps(what).encode())
    for file in inputs:
        file.seek(0)
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _left_by_earlier_try(host: DockerHost, job: str) -> Container | None:
    """The container of an identical job from an earlier try of this task, running or finished; others are removed.

    A failed container is not reused: it may have failed because the Docker Engine stopped.
    """
    if not (task := _task()):
        return None
    resumable = None
    for container in host.client.containers.list(
        all=True, filters=host.with_labels("job", task=task), ignore_removed=True
    ):
        usable = container.status in ("running", "exited") and container.attrs["State"]["ExitCode"] == 0
        if resumable is None and usable and container.labels.get("evergreen.job") == job:
            resumable = container
        else:
            container.remove(force=True, v=True)
    return resumable


def _is_left_over(values: Mapping[str, str]) -> bool:
    if float(values.get("evergreen.until", 0)) < time.time():
        return True
    if values.get("evergreen.task") or values.get("evergreen.host") != socket.gethostname():
        return False
    try:
        owner = psutil.Process(int(values["evergreen.pid"]))
        return owner.status() == psutil.STATUS_ZOMBIE or str(owner.create_time()) != values["evergreen.since"]
    except psutil.NoSuchProcess:
        return True


@contextlib.contextmanager
def _inputs(home: Path, readable: Sequence[Path], writable: Path) -> Iterator[list[BufferedRandom]]:
    """The command's inputs: an archive of what it may read, and one of what it may change."""
    with tempfile.TemporaryFile() as fixed, tempfile.TemporaryFile() as changeable:
        for file, owner, paths in ((fixed, 0, readable), (changeable, USER, [writable])):
            archive({_place(home, path): path.resolve() for path in paths}, into=file, owner=owner)
        yield [fixed, changeable]


def _place(home: Path, path: Path) -> str:
    if not path.is_relative_to(home):
        raise PlatformError(f"{path} is not inside {home}, so it can't be copied into a container. Move it there.")
    return str(path.relative_to(home))


def _await_end(
    container: Container, time_limit: float, folder: str, disk_mb: int | None
) -> Literal["time", "disk"] | None:
    """Wait for the container to exit, or kill it when it exceeds a limit.

    Its time includes that of earlier tries.
    """
    container.reload()
    running = datetime.now(UTC) - datetime.fromisoformat(container.attrs["State"]["StartedAt"])
    deadline = time.monotonic() + time_limit - running.total_seconds()
    look, unmeasured = 0.0, 0
    limit: Literal["time", "disk"] = "time"
    while (left := deadline - time.monotonic()) > 0:
        if container.status in ("exited", "dead"):
            return None
        if disk_mb and time.monotonic() > look:
            used = _disk_mb(container, folder)
            unmeasured = unmeasured + 1 if used is None else 0
            if unmeasured >= UNMEASURED_LOOKS or (used or 0) > disk_mb:
                limit = "disk"
                break
            look = time.monotonic() + (DISK_SECONDS if used is not None else UNMEASURED_SECONDS)
        time.sleep(min(0.1, left))
        container.reload()
    with contextlib.suppress(APIError):  # it has just exited
        container.kill()
    container.wait(timeout=GRACE_SECONDS)
    return limit


def _disk_mb(container: Container, folder: str) -> int | None:
    """How much the files of a running container take (MiB); None if it can't be measured, as when it has just ended."""
    try:
        measured = container.exec_run(["du", "--summarize", "--block-size=1M", folder], stderr=False)
    except APIError:
        return None
    size = measured.output.split(b"\t")[0] if isinstance(measured.output, bytes) else b""
    return int(size) if size.isdigit() else None


def _exit_code(code: int) -> int:
    """Negative for a signal, as for a process; a container's first process reports 128 plus the signal."""
    return 128 - code if code - 128 in set(signal.Signals) else code


@dataclass
class _Output:
    """A command's output: written to its log file and logged line by line while it runs."""

    log: Path
    tail: str = ""
    _left: int = OUTPUT_BYTES
    _line: bytes = field(default=b"", repr=False)

    def copy(self, chunks: Iterable[bytes]) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as file:
            for chunk in chunks:
                kept = chunk[: self._left]
                self._left -= len(kept)
                file.write(kept)
                file.flush()
                self._add(kept)
                if kept and not self._left:
                    _log.warning("more than %d MiB of output: the rest is omitted", OUTPUT_BYTES // 2**20)

    def _add(self, content: bytes) -> None:
        *lines, self._line = (self._line + content).split(b"\n")
        for line in lines:
            self._log_line(line)

    def close(self) -> None:
        if self._line:
            self._log_line(self._line)

    def _log_line(self, line: bytes) -> None:
        text = line.decode("utf-8", errors="replace")
        self.tail = (self.tail + text + "\n")[-TAIL_BYTES:]
        _log.info("%s", text)
