"""The engine ``process``: model servers are processes supervised by supervisord.

Each server has two files in ``run/servers``: ``<name>.json``, which the server reads, and ``<name>.conf``, which
supervisord reads. They are enough to find all servers, even after supervisord itself has stopped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault

from filelock import FileLock
from supervisor.xmlrpc import Faults

from include.adapters.engines import environments
from include.adapters.engines.contract import SERVER_ENVIRONMENT, RunningServer, job_environment
from include.adapters.engines.ports import free_server_port
from include.adapters.engines.process.confinement import FILE_MB, Completed, confined_command, isolation, run_confined
from include.adapters.engines.runtime_config import build_folder, model_block
from include.adapters.engines.server_config import ServerConfig, optional_inputs
from include.adapters.files import write_private
from include.adapters.registry import Registry
from include.adapters.serving.inference_client import InferenceClient
from include.adapters.supervisord import open_supervisor
from include.core.errors import PlatformError
from include.core.release.release import Environment
from include.core.spec import ModelSpec
from include.settings import Settings

_log = logging.getLogger(__name__)

RUNNING, STARTING, BACKOFF = 20, 10, 30
NOT_RUNNING = (Faults.BAD_NAME, Faults.NOT_RUNNING)


class ProcessEngine:
    """Confined processes on this machine; model servers are controlled through supervisord's XML-RPC interface."""

    def __init__(self, settings: Settings, registry: Registry):
        self._settings, self._registry = settings, registry
        self.folder = settings.run / "servers"

    @property
    def _supervisor(self) -> Any:
        """A new connection each time: one that broke off within a request can't be used again."""
        return open_supervisor(self._settings.run)

    def prepare_build(
        self, spec: ModelSpec, commit: str, checkout: Path, *, again: bool = False
    ) -> environments.PreparedBuild:
        """Lock, virtual environment and folder of a build; see :meth:`Engine.prepare_build`."""
        started = time.monotonic()
        lock = environments.resolve_lock(
            self._settings,
            spec.name,
            environments.model_folder(checkout, spec),
            indexes=spec.repository.package_indexes,
            again=again,
        )
        cached = (self._settings.environments / lock.hash / ".complete").exists()
        environment = environments.build_environment(self._settings, spec.name, lock)
        build_id = environments.build_name(commit, lock)
        folder = environments.assemble(build_folder(self._settings, spec.name, build_id), checkout, environment)
        if not (folder / "environment" / "bin" / "python").exists():
            raise PlatformError(f"{folder} has no working environment. Remove this folder, then run again.")
        return environments.PreparedBuild(build_id, lock.hash, folder, cached, time.monotonic() - started)

    def code(self, spec: ModelSpec, build_id: str) -> Path:
        """The model's folder in the build's folder."""
        return (build_folder(self._settings, spec.name, build_id) / "code" / spec.repository.path).resolve()

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
        """Run the build's Python, confined; see :meth:`Engine.run`."""
        build = _existing(build_folder(self._settings, spec.name, build_id))
        os.utime(build)  # so that housekeeping knows that it is used
        done = run_confined(
            [str(build / "environment" / "bin" / "python"), *arguments],
            cwd=self.code(spec, build_id) if in_code else build,
            readable=[build, (build / "environment").resolve(), *readable],
            writable=[writable],
            scratch=self._settings.scratch,
            log=log,
            time_limit=time_limit or spec.training.time_limit_minutes * 60,
            memory_mb=spec.training.memory_mb,
            file_mb=file_mb or FILE_MB,
            processes=spec.training.processes,
            disk_mb=spec.training.disk_mb,
            connect=spec.training.network,
            env=job_environment(spec),
        )
        for line in done.output_tail.splitlines():
            _log.info("%s", line)
        return done

    def isolation(self) -> str:
        """``landlock``, or ``environment`` where the kernel lacks it."""
        return isolation()

    def fetch_predictions(self, model: str) -> None:
        """Do nothing: servers write directly to the folder."""

    def servers(self, model: str, environment: Environment) -> dict[str, RunningServer]:
        """The servers of one model in one environment, by version."""
        servers = {}
        for path in sorted(self.folder.glob(f"{_name(model, environment, '')}*.json")):
            version = path.stem.rpartition(".")[2]
            try:
                config = ServerConfig.read(path)
            except ValueError as error:  # damaged, or of an earlier release of Evergreen: the reconciler replaces it
                _log.warning("%s", error)
                servers[version] = RunningServer(version, "", "broken")
            else:
                servers[version] = RunningServer(version, config.address, self._state(path.stem, config))
        return servers

    def start(self, spec: ModelSpec, environment: Environment, version: str, release: str) -> None:
        """Start the server of a version; a broken one of the same version is replaced."""
        lineage = self._registry.lineage(spec.name, version)
        artifact = self._registry.fetch(spec.name, version)
        _existing(build_folder(self._settings, spec.name, lineage.build))
        name = _name(spec.name, environment, version)
        log_folder = self._settings.prediction_log / spec.name
        log_folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            config = ServerConfig(
                model=model_block(spec, self.code(spec, lineage.build)),
                version=version,
                environment=environment,
                release=release,
                build=lineage.build,
                artifact=str(artifact),
                sha256=self._registry.sha256(spec.name, version),
                compiled=self._registry.compiled(spec.name, version),
                host="127.0.0.1",
                port=free_server_port(self._settings, self._taken_ports()),
                token_file=str(self._settings.secrets / "prediction_token"),
                optional_inputs_file=str(self._optional_inputs(name)),
                log_dir=str(log_folder) if environment == "production" else None,
                durable_log=spec.deployment.durable_log,
                event_time_from_year=spec.data.event_time_from_year,
                event_time_days_ahead=spec.data.event_time_days_ahead,
            )
            self._remove(name)
            write_private(Path(config.optional_inputs_file), optional_inputs(spec))
            write_private(self.folder / f"{name}.json", config.as_json())
            write_private(self.folder / f"{name}.conf", self._program(name, spec, config))
            self._call("reloadConfig")
            self._call("addProcessGroup", name)

    def set_optional_inputs(self, spec: ModelSpec, environment: Environment) -> None:
        """Write the file that the servers read; see :meth:`Engine.set_optional_inputs`."""
        for path in self.folder.glob(f"{_name(spec.name, environment, '*')}.json"):
            write_private(self._optional_inputs(path.stem), optional_inputs(spec))

    def restore_files(self, spec: ModelSpec, environment: Environment) -> None:
        """Write supervisord's files again; see :meth:`Engine.restore_files`."""
        for path in self._without_program(spec.name, environment):
            with self._locked(), contextlib.suppress(ValueError):  # of a damaged one, which the reconciler replaces
                if path in self._without_program(spec.name, environment):
                    write_private(path.with_suffix(".conf"), self._program(path.stem, spec, ServerConfig.read(path)))

    def _without_program(self, model: str, environment: Environment) -> list[Path]:
        """The configurations of servers whose file for supervisord is missing or empty."""
        files = self.folder.glob(f"{_name(model, environment, '*')}.json")
        return [path for path in files if not _has_content(path.with_suffix(".conf"))]

    def stop(self, model: str, environment: Environment, version: str) -> None:
        """Stop a server (it drains first) and remove it, if there is one."""
        name = _name(model, environment, version)
        with self._locked():
            self._remove(name)
            (self.folder / f"{name}.conf").unlink(missing_ok=True)
            (self.folder / f"{name}.json").unlink(missing_ok=True)
            shutil.rmtree(self._optional_inputs(name).parent, ignore_errors=True)
            self._call("reloadConfig")

    def restart(self, model: str, environment: Environment, version: str) -> None:
        """Kill a server; supervisord starts it again."""
        self._call("signalProcess", _name(model, environment, version), "KILL", ignore=NOT_RUNNING)

    def log_tail(self, model: str, environment: Environment, version: str, lines: int = 15) -> str:
        """The tail of a server's log, for error messages."""
        path = self._settings.home / "logs" / f"{_name(model, environment, version)}.log"
        try:
            return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Serialize changes of the servers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            yield

    def _program(self, name: str, spec: ModelSpec, config: ServerConfig) -> str:
        home = build_folder(self._settings, spec.name, config.build)
        takes_socket = (home / "runtime" / "listening.py").exists()  # not in builds of version 0.1.0
        command = confined_command(
            [str(home / "environment" / "bin" / "python"), "-m", "runtime.serve", str(self.folder / f"{name}.json")],
            cwd=home,
            readable=[
                home,
                (home / "environment").resolve(),
                Path(config.artifact),
                Path(config.token_file),
                self.folder / f"{name}.json",
                Path(config.optional_inputs_file).parent,
            ],
            writable=[],
            appendable=[Path(config.log_dir)] if config.log_dir else [],
            scratch=self._settings.scratch,
            memory_mb=spec.deployment.memory_mb,
            env=SERVER_ENVIRONMENT,
            listen=(config.host, config.port) if takes_socket else None,
            bind_ports=[] if takes_socket else [config.port],
        )
        log = self._settings.home / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        options = {
            "command": shlex.join(command),
            "directory": str(home),
            "autostart": "true",
            "autorestart": "unexpected",
            "exitcodes": "3",
            "startsecs": "10",
            "startretries": "2",
            "stopsignal": "TERM",
            "stopwaitsecs": "30",
            "redirect_stderr": "true",
            "stdout_logfile": str(log),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "2",
        }
        return f"[program:{name}]\n" + "".join(f"{key}={_escape(value)}\n" for key, value in options.items())

    def _state(self, name: str, config: ServerConfig) -> str:
        try:
            state = self._supervisor.getProcessInfo(name)["state"]
        except Fault as fault:
            if fault.faultCode == Faults.BAD_NAME:
                return "broken"
            raise PlatformError(f"supervisord could not report the state of {name}: {fault.faultString}") from fault
        except (OSError, HTTPException) as error:
            raise PlatformError(_NO_SUPERVISOR.format(error)) from error
        if state in (RUNNING, STARTING) and self._client(config).ready():
            return "ready"
        return "starting" if state in (RUNNING, STARTING, BACKOFF) else "broken"

    def _remove(self, name: str) -> None:
        self._call("stopProcessGroup", name, ignore=(Faults.BAD_NAME,))
        self._call("removeProcessGroup", name, ignore=(Faults.BAD_NAME,))

    def _call(self, method: str, *arguments: Any, ignore: Iterable[int] = ()) -> Any:
        try:
            return getattr(self._supervisor, method)(*arguments)
        except Fault as fault:
            if fault.faultCode not in ignore:
                raise PlatformError(f"supervisord refused {method} {arguments}: {fault.faultString}") from fault
        except (OSError, HTTPException) as error:
            raise PlatformError(_NO_SUPERVISOR.format(error)) from error

    def _taken_ports(self) -> set[int]:
        ports = set()
        for path in self.folder.glob("*.json"):
            with contextlib.suppress(ValueError):
                ports.add(ServerConfig.read(path).port)
        return ports

    def _optional_inputs(self, name: str) -> Path:
        """The file that a server reads again while it runs; it may read its folder."""
        return self.folder / f"{name}.inputs" / "optional.json"

    def _client(self, config: ServerConfig) -> InferenceClient:
        return InferenceClient(config.model["name"], config.address, self._settings.secret("prediction_token"))


_NO_SUPERVISOR = "supervisord does not respond ({}). 'make status' shows the platform; 'make up' starts it."


def _name(model: str, environment: str, version: str) -> str:
    return f"{model}.{environment}.{version}"


def _existing(build: Path) -> Path:
    if build.is_dir():
        return build
    raise PlatformError(
        f"the build {build.name} of {build.parent.name} is gone ({build}): housekeeping keeps those of the newest "
        f"versions. Run {build.parent.name}.ci with ref={build.name.partition('-')[0]}, then run this again."
    )


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _escape(value: str) -> str:
    return value.replace("%", "%%")
