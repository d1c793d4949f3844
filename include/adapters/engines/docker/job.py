"""One command in a container of its own, to its end: a check, a training, a scoring.

It has no network, no capabilities and no platform environment, a read-only root, and limits of time, memory,
processors and processes. Its files lie in a volume at the platform's own home, so that paths are the same on both
sides, and the Docker host may be another machine. The container goes when the command has ended, whatever happened.

A container whose task was killed works on, until its time limit at most. Airflow's next try of that task goes on with
it, if it would start the very same: its labels name the task, and a hash of the image, the command and all the files.
What nobody can go on with is removed by the next job.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
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
from include.adapters.engines.process.confinement import FILE_MB, NO_MEMORY, TAIL_BYTES, Completed
from include.core.errors import PlatformError

TMP_MB = 256
OUTPUT_BYTES = 16 * 2**20
"""More than this of a command's output goes neither into its log nor the task's."""
GRACE_SECONDS = 30


class Hardening(TypedDict):
    """Options of a container that take away what a model's code does not need."""

    user: str
    read_only: bool
    cap_drop: list[str]
    security_opt: list[str]
    tmpfs: dict[str, str]
    init: bool
    use_config_proxy: bool


class LimitOptions(TypedDict):
    """Options of a container that limit what it may use."""

    mem_limit: int
    """Bytes, as the next one."""
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
"""What every container gets that runs a model's code."""


@dataclass(frozen=True)
class Limits:
    """What a container may use."""

    memory_mb: int
    processes: int
    cpus: float | None = None
    file_mb: int | None = None

    def options(self, host_cpus: int) -> LimitOptions:
        """The same, as the engine's options; swap would only hide that memory is out."""
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
    """Run a command in ``image`` to its end; see :meth:`include.adapters.engines.contract.Engine.run`.

    ``environment`` has further variables. With ``network`` it is on the Docker host's default one, else on none.
    ``about`` goes into the container's labels.
    Raises PlatformError when the engine is gone.
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
            print(f"going on with container {container.name}, which an earlier try of this task started", flush=True)
        try:
            if container.status == "created":
                for file in inputs:
                    file.seek(0)
                    container.put_archive(str(host.settings.home), file)
                container.start()
            output = _Output(log)
            reader = threading.Thread(target=output.copy, args=(container.logs(stream=True, follow=True),), daemon=True)
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
    """The labels of a container that must outlive neither who made it nor ``time_limit`` (seconds).

    Who made it is the Airflow task, in any try; outside of Airflow, this process.
    """
    me = psutil.Process()
    owner = {"host": socket.gethostname(), "pid": str(me.pid), "since": str(me.create_time()), "task": _task()}
    return host.labels("job", until=f"{time.time() + time_limit + 4 * GRACE_SECONDS:.0f}", **owner, **(about or {}))


def _task() -> str:
    """The Airflow task instance that this process runs, whatever its try; empty outside of one."""
    parts = [os.environ.get(f"AIRFLOW_CTX_{name}", "") for name in ("DAG_ID", "DAG_RUN_ID", "TASK_ID")]
    return "/".join(parts) if all(parts) else ""


def _job_hash(what: Sequence[str], inputs: Iterable[BufferedRandom]) -> str:
    digest = hashlib.sha256(json.dumps(what).encode())
    for file in inputs:
        file.seek(0)
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _left_by_earlier_try(host: DockerHost, job: str) -> Container | None:
    """The container of this very job that an earlier try of this task left, at work or done; its others are removed.

    One that failed is no result: it may have gone down with the engine.
    """
    if not (task := _task()):
        return None
    resumable = None
    for container in host.client.containers.list(
        all=True, filters=host.with_labels("job", task=task), ignore_removed=True
    ):
        well = container.status in ("running", "exited") and container.attrs["State"]["ExitCode"] == 0
        if resumable is None and well and container.labels.get("evergreen.job") == job:
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
    """What the command finds: an archive of what it may read, and one of what it may change."""
    with tempfile.TemporaryFile() as fixed, tempfile.TemporaryFile() as changeable:
        for file, owner, paths in ((fixed, 0, readable), (changeable, USER, [writable])):
            archive({_place(home, path): path.resolve() for path in paths}, into=file, owner=owner)
        yield [fixed, changeable]


def _place(home: Path, path: Path) -> str:
    if not path.is_relative_to(home):
        raise PlatformError(f"{path} is not below {home}, so no container can be given it. Move it there.")
    return str(path.relative_to(home))


def _await_end(container: Container, time_limit: float) -> Literal["time"] | None:
    """Wait for the container to end, or end it when its time, which an earlier try may have used, is over."""
    container.reload()
    running = datetime.now(UTC) - datetime.fromisoformat(container.attrs["State"]["StartedAt"])
    deadline = time.monotonic() + time_limit - running.total_seconds()
    while True:
        if container.status in ("exited", "dead"):
            return None
        left = deadline - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(0.1, left))
        container.reload()
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
