"""The engine: where a build is made, where its code runs, and where models are served. One contract, two engines.

``process`` keeps virtual environments and supervised processes on this machine; ``docker`` keeps images and
containers on a Docker host. ``EVERGREEN_ENGINE`` chooses; nothing else in the project knows which one it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from include.adapters.engines.environments import PreparedBuild
from include.adapters.engines.process.confinement import Completed
from include.core.release.release import Environment
from include.core.spec import ModelSpec

SERVER_ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
"""What each server gets beyond its command. One request is one thread's work: a team of threads for each of a hundred
trees costs more than the trees, and where processors are busy the threads wait for each other (decision 0004)."""


def job_environment(spec: ModelSpec) -> dict[str, str]:
    """What each job gets beyond its command: as many OpenMP threads as it has processors, which sleep while they wait.

    By default they spin. Beside other work, that slows a fit of boosted trees down several times over (decision 0004).
    """
    threads = {"OMP_NUM_THREADS": str(max(1, int(spec.training.cpus)))} if spec.training.cpus else {}
    return {"OMP_WAIT_POLICY": "PASSIVE", **threads}


@dataclass(frozen=True)
class RunningServer:
    """One server, as the engine sees it."""

    version: str
    address: str
    state: str
    """``ready``, ``starting`` or ``broken``."""
    image: str | None = None
    """By digest or id; None where servers are no containers."""


class Engine(Protocol):
    """What every engine can do. Each method may be called again after a crash and finishes what is missing."""

    def prepare_build(self, spec: ModelSpec, commit: str, checkout: Path, *, again: bool = False) -> PreparedBuild:
        """Make the build of a commit, whose files are in ``checkout``, or take the one that is there already.

        With ``again`` its requirements are resolved again, though they were resolved before.

        Raises BuildError when the commit's requirements can't be met.
        """

    def code(self, spec: ModelSpec, build_id: str) -> Path:
        """The model's folder, as programs that run in the build see it."""

    def run(
        self,
        spec: ModelSpec,
        build_id: str,
        arguments: Sequence[str],
        *,
        writable: Path,
        log: Path,
        readable: Sequence[Path] = (),
        in_code: bool = False,
        time_limit: float | None = None,
        file_mb: int | None = None,
    ) -> Completed:
        """Run the build's Python with these arguments to its end: no platform environment, no keys, and no network
        unless the spec's ``training.network`` says so.

        It works in the model's folder with ``in_code``, else where it can import ``runtime``. Beside the build it can
        read ``readable`` and change ``writable``, a folder of its own; both keep their absolute paths.
        ``time_limit`` (seconds) defaults to the spec's, ``file_mb`` (MiB of one file) to the engine's. Output goes to
        stdout and to ``log``, which lies outside of ``writable``.
        """

    def isolation(self) -> str:
        """What keeps model code from the platform here, for the report of a check."""

    def servers(self, model: str, environment: Environment) -> dict[str, RunningServer]:
        """The servers of one model in one environment, by version."""

    def start(self, spec: ModelSpec, environment: Environment, version: str, release: str) -> None:
        """Start the server of a version; a broken one of the same version is replaced."""

    def stop(self, model: str, environment: Environment, version: str) -> None:
        """Stop a server (it drains first) and forget it; harmless when there is none."""

    def log_tail(self, model: str, environment: Environment, version: str, lines: int = 15) -> str:
        """The end of a server's log, for the error message about it."""

    def fetch_predictions(self, model: str) -> None:
        """Bring what is new in the model's prediction log into ``settings.prediction_log / model``."""
