"""Runs training and scoring in a build's own environment: one JSON file in, files out."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path

from include.adapters.engines.contract import Engine
from include.adapters.engines.job_output import job_folder, take_files
from include.adapters.engines.process.confinement import Completed
from include.adapters.engines.runtime_config import ScoreJob, TrainJob
from include.core.errors import PlatformError, TrainingError
from include.core.spec import ModelSpec

KILLED = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)
"""Exit codes of a job that someone else ended: a person, a restart, or the kernel when the machine had no memory."""
DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded")


def run_job(
    engine: Engine,
    spec: ModelSpec,
    build_id: str,
    module: str,
    job: TrainJob | ScoreJob,
    folder: Path,
    *,
    leaves: Sequence[str],
    may_leave: Sequence[str] = (),
    readable: list[Path],
) -> None:
    """Run ``python -m runtime.<module>`` on ``job``, confined, and copy its outputs ``leaves`` into ``folder``.

    Those of ``may_leave`` are copied if they are there.

    The job writes to its own folder, which is removed afterwards; ``job["out"]`` is a path inside it. It has no access
    to ``folder``, which also contains its job file and its log.

    Raises TrainingError with the runtime's own message if it fails or exceeds its time or memory limit, or if an output
    is missing or not a regular file. Raises PlatformError, which is retried, if it was killed from outside, or if the
    disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job_file = folder / f"{module}.json"
    with job_folder(folder.with_name(f".{folder.name}.{module}")) as scratch:
        job_file.write_text(json.dumps({**job, "out": str(scratch / job["out"])}, indent=1), encoding="utf-8")
        done = engine.run(
            spec,
            build_id,
            ["-m", f"runtime.{module}", str(job_file)],
            readable=[*readable, job_file],
            writable=scratch,
            log=folder / f"{module}.log",
        )
        _require_success(spec, module, done)
        try:
            take_files(scratch, leaves, folder, optional=may_leave)
        except TrainingError as error:
            raise TrainingError(f"{spec.name}: {module}: {error}") from error


def _require_success(spec: ModelSpec, module: str, done: Completed) -> None:
    if done.limit == "time":
        raise TrainingError(
            f"{spec.name}: {module} exceeded training.time_limit_minutes "
            f"({spec.training.time_limit_minutes:g}). Raise it in model.yaml, or make the model faster."
        )
    if done.limit == "memory":
        raise TrainingError(
            f"{spec.name}: {module} exceeded training.memory_mb ({spec.training.memory_mb}). "
            "Raise it in model.yaml, or train on fewer windows."
        )
    if done.limit == "processes":
        raise TrainingError(
            f"{spec.name}: {module} had more processes and threads than training.processes "
            f"({spec.training.processes}). Raise it in model.yaml, or start fewer, for example with a smaller n_jobs."
        )
    if done.limit == "disk":
        raise TrainingError(
            f"{spec.name}: {module} wrote more than training.disk_mb ({spec.training.disk_mb}), or more files than are "
            "allowed. Raise it in model.yaml, or write less."
        )
    if done.code in KILLED:
        raise PlatformError(
            f"{spec.name}: {module} was killed from outside (signal {-done.code}), not by a limit of its own. If a "
            "retry is killed too, the machine has too little memory for what runs on it at once."
        )
    if done.code != 0 and (full := DISK_FULL.search(done.output_tail)):
        raise PlatformError(
            f"{spec.name}: {module} failed: {full[0]}. Free disk space below EVERGREEN_HOME. "
            "In a container, /tmp is limited as well: write large files elsewhere in the job's folder."
        )
    if done.code != 0:
        tail = done.output_tail.strip().splitlines()
        raise TrainingError(f"{spec.name}: {module} failed (exit code {done.code}): " + "\n".join(tail[-15:]))
