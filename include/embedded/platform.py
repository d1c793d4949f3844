"""Starts, stops and inspects the embedded platform."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets as random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xmlrpc.client import Fault

from filelock import FileLock, Timeout

from include.adapters.files import write_private
from include.adapters.supervisord import open_supervisor
from include.core.errors import PlatformError
from include.embedded import components, processes, takeover
from include.embedded.environment import airflow_environment, enter_airflow, refused_variables
from include.embedded.gateway_config import hashed
from include.embedded.monitoring import configure_prometheus
from include.embedded.outside_servers import make_schemas, require_servers
from include.settings import Settings

if TYPE_CHECKING:
    from include.adapters.engines.docker.engine import DockerEngine

START_SECONDS = 270
STOP_SECONDS = 45
ORPHAN_SECONDS = 2
LONGEST_SOCKET_PATH = 100
WATCHDOG, SUPERVISOR = "include.embedded.watchdog", "supervisord"
STOPPED = "stopped"
"""File in the folder ``run`` while the platform is stopped on purpose."""
SECRETS = (
    *("api_secret_key", "jwt_secret", "admin_password", "mlflow_password", "prediction_token", "fernet_key"),
    "prometheus_password",
)


def up(settings: Settings) -> None:
    """Start the platform and wait until all its components are healthy; does nothing if it is already up.

    What still serves after supervisord was killed goes on serving until its replacement does. Raises PlatformError with
    the remedy when a port is in use, a path is too long, or a component does not become healthy.
    """
    os.umask(0o077)
    for folder in ("airflow/config", "mlflow/artifacts", "logs", "run/servers", "lake", "repositories", "secrets"):
        (settings.home / folder).mkdir(parents=True, exist_ok=True)
    settings.home.chmod(0o700)
    _check_socket_paths(settings)
    with _only_one(settings):
        _choose_platform(settings)
        _choose_engine(settings)
        (settings.run / STOPPED).unlink(missing_ok=True)
        if not running(settings):
            serving = takeover.end_all_but_serving(settings)
            taken = components.taken_ports(settings, takeover.listening(serving))
            if taken:
                raise PlatformError("\n".join(taken))
            _start(settings)
        _wait_until_healthy(settings)
        for problem in serve_again(settings):
            print(f"not serving as desired: {problem}", file=sys.stderr)
        takeover.end_replaced(settings)


def down(settings: Settings) -> list[str]:
    """Stop every process of this installation; returns those that supervisord did not stop and that were killed."""
    if settings.run.exists():
        (settings.run / STOPPED).touch()  # so that the watchdog does not start the platform again
    # Before stopping: a confined job carries no mark and is only found as a child of a marked process.
    ours = processes.of_installation(settings)
    processes.end([process for process in ours if processes.runs(process, WATCHDOG)])
    if running(settings):
        _shut_down(settings)
        # Orphans of a component that was killed are not supervisord's to end, so they are not waited for.
        _await(STOP_SECONDS, lambda: not processes.alive([one for one in ours if processes.runs(one, SUPERVISOR)]))
        _await(ORPHAN_SECONDS, lambda: not processes.alive(ours))
    remaining = list({*processes.alive(ours), *processes.of_installation(settings)})
    names = [processes.describe(process) for process in remaining]
    processes.end(remaining)
    if settings.engine == "docker":
        _docker_engine(settings).stop_servers()
    for name in ("supervisor.sock", "supervisord.pid", "mlflow.sock"):
        (settings.run / name).unlink(missing_ok=True)
    takeover.remove_admin_sockets(settings)
    return names


def clean(settings: Settings) -> None:
    """Stop the platform and remove its folder and, with the engine docker, everything that it made on the host."""
    down(settings)
    if settings.engine == "docker":
        _docker_engine(settings).remove_everything()
    shutil.rmtree(settings.home, ignore_errors=True)


def running(settings: Settings) -> bool:
    """Whether this installation's supervisord is running and responds."""
    with contextlib.suppress(OSError, HTTPException, Fault):
        return bool(open_supervisor(settings.run).getState()["statecode"] == 1)
    return False


def states(settings: Settings) -> dict[str, str]:
    """Each of supervisord's programs → its state."""
    return {info["name"]: info["statename"] for info in open_supervisor(settings.run).getAllProcessInfo()}


def problems(settings: Settings) -> dict[str, str | None]:
    """Each component → its problem, or None when it is healthy."""
    started = {info["name"]: float(info["start"]) for info in open_supervisor(settings.run).getAllProcessInfo()}
    return components.problems(settings, started)


def make_secrets(settings: Settings) -> None:
    """Create the missing secrets, as files that only the owner may read."""
    for name in SECRETS:
        path = settings.secrets / name
        if not path.exists():
            write_private(path, new_secret(name))
    write_private(settings.secrets / "airflow_passwords.json", json.dumps({"admin": settings.secret("admin_password")}))


def new_secret(name: str) -> str:
    """A random value in the format of the secret with this name."""
    if name == "fernet_key":
        return base64.urlsafe_b64encode(random.token_bytes(32)).decode()
    return random.token_urlsafe(48 if name.endswith(("_secret", "_key")) else 24)


def _start(settings: Settings) -> None:
    environment = airflow_environment(settings)
    config = Path(__file__).with_name("airflow_local_settings.py")
    shutil.copyfile(config, settings.home / "airflow" / "config" / config.name)
    takeover.write_gateway_config(settings, hashed(settings.secret("mlflow_password")))
    configure_prometheus(settings)
    write_private(settings.run / "supervisord.conf", components.supervisor_config(settings))
    _prepare_databases(settings, environment)
    for path in (settings.run / "supervisor.sock", settings.run / "mlflow.sock", *settings.run.glob("worker-*.pid")):
        path.unlink(missing_ok=True)
    subprocess.run(
        [str(Path(sys.executable).parent / "supervisord"), "-c", str(settings.run / "supervisord.conf")],
        env=environment,
        check=True,
    )


def _prepare_databases(settings: Settings, environment: dict[str, str]) -> None:
    """Migrate Airflow's and MLflow's databases at the same time, and apply airflow_settings.yaml."""
    jobs = {"airflow": [sys.executable, "-m", "include.embedded.airflow_settings"]}
    # A database of its own may be new, or restored, although this installation has migrated one.
    migrated = settings.home / "mlflow" / f".migrated-{version('mlflow')}"
    if not settings.mlflow.startswith("sqlite") or not migrated.exists():
        jobs["mlflow"] = [sys.executable, "-m", "include.embedded.mlflow_database"]
    with contextlib.ExitStack() as stack:
        started = {}
        for name, command in jobs.items():
            log = stack.enter_context((settings.home / "logs" / f"prepare-{name}.log").open("wb"))
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            stack.callback(_end_child, process)
            started[name] = (process, log.name)
        for name, (process, log_name) in started.items():
            code = process.wait()
            if code != 0:
                raise PlatformError(f"the database of {name} could not be prepared (exit code {code}). See {log_name}.")
    migrated.touch()


def _end_child(process: subprocess.Popen[bytes]) -> None:
    """End the preparation when 'up' is interrupted."""
    if process.poll() is None:
        process.terminate()
        process.wait()


def _wait_until_healthy(settings: Settings) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        unhealthy = {name: problem for name, problem in problems(settings).items() if problem}
        if not unhealthy:
            return
        fatal = [
            name
            for name, state in states(settings).items()
            if state == "FATAL" and name in components.commands(settings)
        ]
        if fatal or time.monotonic() > deadline:
            shown = "; ".join(f"{name}: {problem}" for name, problem in unhealthy.items())
            log = settings.home / "logs" / f"{(fatal or list(unhealthy))[0]}.log"
            raise PlatformError(
                f"the platform did not become healthy: {shown}. See {log}; 'make down' stops the platform."
            )
        time.sleep(0.5)


def _choose_engine(settings: Settings) -> None:
    """Record this installation's engine; PlatformError when it was another one, or when Docker does not respond."""
    known = settings.engine_file.read_text(encoding="utf-8").strip() if settings.engine_file.exists() else None
    if known not in (None, settings.engine):
        raise PlatformError(
            f"the builds of this installation were made for the engine '{known}', not '{settings.engine}'. Run 'make "
            "clean' first, or set EVERGREEN_HOME to another folder."
        )
    if settings.engine == "docker":
        _docker_engine(settings).prepare_host()
    write_private(settings.engine_file, settings.engine)


def _choose_platform(settings: Settings) -> None:
    """Record this installation's platform; PlatformError when it was another one, or when a setting can't be used."""
    new = not settings.engine_file.exists()  # installations from before there was a choice are local
    known = settings.platform_file.read_text(encoding="utf-8").strip() if settings.platform_file.exists() else "local"
    if not new and known != settings.platform:
        raise PlatformError(
            f"the state of this installation is in the databases of the platform '{known}', not '{settings.platform}'. "
            "Run 'make clean' first, or set EVERGREEN_HOME to another folder."
        )
    components.commands(settings)  # raises what is wrong with the settings of workers and schedulers
    make_secrets(settings)
    require_servers(settings)
    if refused := refused_variables(settings):
        raise PlatformError("\n".join(refused))
    make_schemas(settings)
    write_private(settings.platform_file, settings.platform)


def _docker_engine(settings: Settings) -> DockerEngine:
    """The engine docker, which gets its connections from Airflow."""
    make_secrets(settings)
    enter_airflow(settings)
    from include.adapters.engines.docker.engine import DockerEngine
    from include.adapters.registry import Registry

    return DockerEngine(settings, Registry(settings))


def serve_again(settings: Settings) -> list[str]:
    """Restore the servers and routes of all deployed models; returns the problems.

    Without any deployed model, skips importing MLflow (2 s).
    """
    from include.stages.installation import open_installation

    installation = open_installation(settings)
    if not installation.store.released():
        return []
    if settings.engine == "docker":
        _docker_engine(settings)
    from include.stages.reconciler import reconcile_all

    return reconcile_all(installation)


def restart_servers(settings: Settings, model: str) -> list[str]:
    """Replace the servers of one model in production by fresh ones; returns their versions."""
    from include.adapters.spec_file import load_spec
    from include.stages import reconciler
    from include.stages.installation import open_installation

    spec = load_spec(settings.models / model / "model.yaml")
    if settings.engine == "docker":
        _docker_engine(settings)
    return reconciler.restart_servers(open_installation(settings), spec)


def _shut_down(settings: Settings) -> None:
    """Stop all programs together, and then supervisord, which would stop them one by one and take a second for each.

    The api-server ends last: the others report to it while they shut down, and the tasks of workers until they finish.
    """
    with contextlib.suppress(OSError, HTTPException, Fault):
        supervisor = open_supervisor(settings.run)
        programs = {info["name"] for info in supervisor.getAllProcessInfo()}
        for together in (programs - {"api-server"}, programs & {"api-server"}):
            for name in together:
                with contextlib.suppress(Fault):
                    supervisor.stopProcess(name, False)
            _await(STOP_SECONDS, partial(_have_ended, supervisor, together))
        supervisor.shutdown()


def _have_ended(supervisor: Any, programs: set[str]) -> bool:
    return not any(info["pid"] for info in supervisor.getAllProcessInfo() if info["name"] in programs)


def _await(seconds: float, condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, at most so long."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


def _check_socket_paths(settings: Settings) -> None:
    path = settings.run / "supervisor.sock"
    if len(str(path)) > LONGEST_SOCKET_PATH:
        raise PlatformError(
            f"the path {path} is too long for a unix socket ({len(str(path))} of {LONGEST_SOCKET_PATH} bytes). "
            "Set EVERGREEN_HOME in .env to a folder with a shorter path."
        )


def starting(settings: Settings) -> bool:
    """Whether another process is in :func:`up` right now."""
    try:
        with FileLock(settings.run / "up.lock", timeout=0):
            return False
    except Timeout:
        return True


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    lock = FileLock(settings.run / "up.lock")
    try:
        with lock.acquire(timeout=START_SECONDS):
            yield
    except Timeout:
        raise PlatformError("another 'make up' of this installation is in progress. Wait for it, or stop it.") from None
