"""The engine: makes builds, runs their code, and serves models. One contract, two engines.

``process`` uses virtual environments and supervised processes on this machine; ``docker`` uses images and containers on
a Docker host. ``EVERGREEN_ENGINE`` selects one; nothing else in the project depends on the choice.
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
"""The environment variables of each server. Each request runs on one thread: a team of threads for each of a hundred
trees costs more than the trees, and on busy CPUs the threads wait for each other (decision 0004)."""


def job_environment(spec: ModelSpec) -> dict[str, str]:
    """The environment variables of each job: one OpenMP thread per CPU, and idle threads sleep.

    By default they spin, which makes fitting boosted trees several times slower on a busy machine (decision 0004).
    """
    threads = {"OMP_NUM_THREADS": str(max(1, int(spec.training.cpus)))} if spec.training.cpus else {}
    return {"OMP_WAIT_POLICY": "PASSIVE", **threads}


@dataclass(frozen=True)
class RunningServer:
    """A server, as reported by the engine."""

    version: str
    address: str
    state: str
    """``ready``, ``starting`` or ``broken``."""
    image: str | None = None
    """The image's digest or id; None if servers are not containers."""


class Engine(Protocol):
    """The operations of every engine. Each is idempotent: called again after a crash, it completes."""

    def prepare_build(self, spec: ModelSpec, commit: str, checkout: Path, *, again: bool = False) -> PreparedBuild:
        """Make the build of a commit, whose files are in ``checkout``, or reuse the existing build.

        With ``again``, its requirements are resolved again, even if they were already resolved.

        Raises BuildError when the commit's requirements can't be installed.
        """

    def code(self, spec: ModelSpec, build_id: str) -> Path:
        """The path of the model's folder, as seen by programs that run in the build."""

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
        """Run the build's Python with these arguments until it exits: without the platform's environment and keys, and
        without network access unless the spec's ``training.network`` allows it.

        Its working directory is the model's folder with ``in_code``, else a folder where it can import ``runtime``.
        Apart from the build, it can read ``readable`` and write to ``writable``, its own folder; both keep their
        absolute paths. ``time_limit`` (seconds) defaults to the spec's, ``file_mb`` (MiB per file) to the engine's.
        Output is logged, and written to ``log``, which is outside ``writable``.
        """

    def isolation(self) -> str:
        """How model code is isolated from the platform, for the report of a check."""

    def servers(self, model: str, environment: Environment) -> dict[str, RunningServer]:
        """The servers of one model in one environment, by version."""

    def start(self, spec: ModelSpec, environment: Environment, version: str, release: str) -> None:
        """Start the server of a version; a broken one of the same version is replaced."""

    def set_optional_inputs(self, spec: ModelSpec, environment: Environment) -> None:
        """Give the model's running servers in this environment the optional inputs of today's spec."""

    def restore_files(self, spec: ModelSpec, environment: Environment) -> None:
        """Write again what is missing of the files from which the model's running servers would be started again."""

    def stop(self, model: str, environment: Environment, version: str) -> None:
        """Stop a server (it drains first) and remove it, if there is one."""

    def restart(self, model: str, environment: Environment, version: str) -> None:
        """Kill a server that does not respond, and start it again at the same address, if there is one."""

    def log_tail(self, model: str, environment: Environment, version: str, lines: int = 15) -> str:
        """The tail of a server's log, for error messages."""

    def fetch_predictions(self, model: str) -> None:
        """Copy new lines of the model's prediction log to ``settings.prediction_log / model``."""
