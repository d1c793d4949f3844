"""``python -m include.embedded <command>``: the platform on one machine."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from dotenv import load_dotenv

from include.adapters.engines.process.confinement import isolation
from include.core.errors import EvergreenError
from include.embedded import components, platform, takeover
from include.embedded.environment import INSTANCE, airflow_environment
from include.settings import PROJECT, Settings

CONFINEMENT = {
    "landlock+mounts": "Landlock, seccomp and read-only mounts",
    "landlock": "Landlock and seccomp. It can change modes and times of this user's files: allow user namespaces",
    "environment": "nothing but a clean environment and limits. Use ENGINE=docker, or a Linux with Landlock (5.13)",
}
"""What keeps model code of the engine ``process`` from the platform's files, by level of isolation."""


def main(arguments: Sequence[str]) -> int:
    """Run one command of COMMANDS, or backup, restore, trace or env with arguments. Returns the exit code."""
    load_dotenv(PROJECT / ".env")
    parser = argparse.ArgumentParser(prog="python -m include.embedded", description=__doc__)
    parser.add_argument("command", choices=[*COMMANDS, "backup", "restore", "trace", "env"])
    text = (
        "with 'env': a command to run in the platform's environment; with 'backup', 'restore', 'trace': their arguments"
    )
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


def _status(settings: Settings) -> int:
    if not platform.running(settings):
        print("the platform is down. 'make up' starts it.")
        return 1
    states, servers = platform.states(settings), components.server_problems(settings)
    own = list(components.commands(settings))
    supervised = own if settings.engine == "docker" else [*own, *sorted(set(states) - set(own))]
    answers = {**platform.problems(settings), **servers}
    faults = {**servers, **{name: _fault(name, states, answers) for name in supervised}}
    faults |= components.route_problems(settings)
    urls = components.addresses(settings)
    width = max(map(len, faults))
    print(f"{'component':<{width}} {'state':<9} {'address':<23} health")
    for name in [*supervised, *(name for name in faults if name not in supervised)]:
        state = states.get(name, "RUNNING" if faults[name] is None else "BROKEN")
        print(f"{name:<{width}} {state:<9} {urls.get(name, ''):<23} {faults[name] or 'healthy'}")
    print(addresses(settings))
    return 1 if any(faults.values()) else 0


def _fault(name: str, states: Mapping[str, str], answers: Mapping[str, str | None]) -> str | None:
    """What is wrong with a supervised program, if anything.

    For its first seconds, supervisord reports STARTING also for one that already responds.
    """
    state = states.get(name, "MISSING")
    if state == "RUNNING" or (state == "STARTING" and name in answers):
        return answers.get(name)
    return answers.get(name) or f"supervisord reports {state}"


def _reconcile(settings: Settings) -> int:
    """What the watchdog runs when something differs from the desired state."""
    problems = platform.serve_again(settings)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        takeover.end_replaced(settings)
    return 1 if problems else 0


COMMANDS = {"up": _up, "down": _down, "status": _status, "reconcile": _reconcile, "clean": _clean}


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
    """The addresses of all components, how to log in, and how model code is confined."""
    confined = "containers" if settings.engine == "docker" else CONFINEMENT[isolation()]
    lines = [
        f"web UI      http://127.0.0.1:{settings.airflow_port}   admin / {settings.secret('admin_password')}",
        f"MLflow      http://127.0.0.1:{settings.mlflow_port}   admin / {settings.secret('mlflow_password')}",
        (
            f"prediction  http://127.0.0.1:{settings.gateway_port}/v2/models/<model>/infer   bearer token in "
            f"{settings.secrets / 'prediction_token'}"
        ),
        f"model code  is confined by {confined}",
    ]
    if settings.prometheus:
        login = f"admin / {settings.secret('prometheus_password')}"
        lines.append(f"Prometheus  http://127.0.0.1:{settings.prometheus_port}   {login}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
