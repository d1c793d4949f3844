"""``python -m include.embedded <command>``: the platform on one machine."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence

from dotenv import load_dotenv

from include.adapters.engines.process.confinement import isolation
from include.core.errors import EvergreenError, PlatformError
from include.embedded import platform, status, takeover
from include.embedded.environment import INSTANCE, airflow_environment
from include.settings import PROJECT, Settings

CONFINEMENT = {
    "landlock+mounts": "Landlock, seccomp and read-only mounts",
    "landlock": "Landlock and seccomp. It can change modes and times of this user's files: allow user namespaces",
    "environment": "nothing but a clean environment and limits. Use ENGINE=docker, or a Linux with Landlock (5.13)",
}
"""What keeps model code of the engine ``process`` from the platform's files, by level of isolation."""


def main(arguments: Sequence[str]) -> int:
    """Run one command of COMMANDS, or one of WITH_ARGUMENTS with its arguments. Returns the exit code."""
    load_dotenv(PROJECT / ".env")
    parser = argparse.ArgumentParser(
        prog="python -m include.embedded",
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=[*COMMANDS, *WITH_ARGUMENTS])
    text = "with 'env': a command to run in the platform's environment; with the other commands: their arguments"
    parser.add_argument("program", nargs=argparse.REMAINDER, help=text)
    chosen = parser.parse_args(arguments)
    settings = Settings.from_environment()
    os.environ["EVERGREEN_HOME"] = str(settings.home)
    try:
        if chosen.command in ("backup", "restore"):
            return _archive(settings, chosen.command, chosen.program)
        if chosen.command == "trace":
            return _trace(settings, chosen.program)
        if chosen.command == "env":
            return _env(settings, chosen.program)
        if chosen.command == "status":
            return _status(settings, chosen.program)
        if chosen.command == "restart":
            return _restart(settings, chosen.program)
        return COMMANDS[chosen.command](settings)
    except EvergreenError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted. 'make up' continues, 'make down' stops the platform.", file=sys.stderr)
        return 130


def _up(settings: Settings) -> int:
    start = time.monotonic()
    already = platform.running(settings)
    platform.up(settings)
    print("the platform is already up" if already else f"the platform is up after {time.monotonic() - start:.0f} s")
    print(addresses(settings))
    return 0


def _down(settings: Settings) -> int:
    for name in platform.down(settings):
        print(f"killed: {name}")
    print("stopped; no processes of this installation are left")
    return 0


def _clean(settings: Settings) -> int:
    platform.clean(settings)
    print(f"removed {settings.home}")
    return 0


def _status(settings: Settings, arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m include.embedded status",
        description="Show the health of each part of the platform, and the state of each model.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    as_json = parser.parse_args(arguments).json
    current = status.read_status(settings)
    print(current.as_json() if as_json else current.as_text())
    if current.running and not as_json:
        print(f"\n{addresses(settings)}")
    return 0 if current.healthy else 1


def _restart(settings: Settings, arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m include.embedded restart",
        description="Replace the model servers of one model in production by fresh ones of the same versions.",
    )
    parser.add_argument("model")
    model = parser.parse_args(arguments).model
    if not platform.running(settings):
        raise PlatformError(status.DOWN)
    print(f"{model}: started fresh servers of version {', '.join(platform.restart_servers(settings, model))}")
    return 0


def _passwords(settings: Settings) -> int:
    try:
        print(passwords(settings))
    except OSError:
        raise PlatformError("there are no passwords yet. 'make up' creates them.") from None
    return 0


def _reconcile(settings: Settings) -> int:
    """What the watchdog runs when something differs from the desired state."""
    problems = platform.serve_again(settings)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        takeover.end_replaced(settings)
    return 1 if problems else 0


COMMANDS = {"up": _up, "down": _down, "passwords": _passwords, "reconcile": _reconcile, "clean": _clean}
WITH_ARGUMENTS = ("status", "restart", "backup", "restore", "trace", "env")
EXIT_CODES = """exit codes of 'status':
  0  everything is healthy (a model that is degraded or has an incident is not a fault of the platform)
  1  the platform is down, a part is unhealthy, or the state of a model can't be read
  2  unknown arguments"""


def _archive(settings: Settings, command: str, arguments: Sequence[str]) -> int:
    from include.embedded import backup

    if command == "restore" and platform.running(settings):
        raise backup.BackupError("the platform is running. Run 'make down' first.")
    return backup.main(settings, command, arguments)


def _trace(settings: Settings, arguments: list[str]) -> int:
    from include.embedded import trace

    return trace.main(settings, arguments)


def _env(settings: Settings, program: list[str]) -> int:
    environment = airflow_environment(settings)
    del environment[INSTANCE]  # 'down' must not stop what the user starts
    program = program[1:] if program[:1] == ["--"] else program
    if program:
        return subprocess.run(program, env={**os.environ, **environment}, check=False).returncode
    for name, value in sorted(environment.items()):
        print(f"export {name}={shlex.quote(value)}")
    return 0


def addresses(settings: Settings) -> str:
    """The addresses of all components, and how model code is confined. No password: terminals are recorded."""
    confined = "containers" if settings.engine == "docker" else CONFINEMENT[isolation()]
    lines = [
        f"web UI      http://127.0.0.1:{settings.airflow_port}",
        f"MLflow      http://127.0.0.1:{settings.mlflow_port}",
        (
            f"prediction  http://127.0.0.1:{settings.gateway_port}/v2/models/<model>/infer   bearer token in "
            f"{settings.secrets / 'prediction_token'}"
        ),
        f"model code  is confined by {confined}",
    ]
    if settings.prometheus:
        lines.append(f"Prometheus  http://127.0.0.1:{settings.prometheus_port}")
    return "\n".join([*lines, "log in      as admin; 'make passwords' prints the passwords"])


def passwords(settings: Settings) -> str:
    """How to log in at each component that asks for a password."""
    logins = {"web UI": "admin_password", "MLflow": "mlflow_password"}
    if settings.prometheus:
        logins["Prometheus"] = "prometheus_password"
    return "\n".join(f"{name:<11} admin / {settings.secret(secret)}" for name, secret in logins.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
