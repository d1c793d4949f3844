"""``python -m include.embedded up|down|status|clean|env``: the platform on one machine."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence

from dotenv import load_dotenv

from include.core.errors import EvergreenError
from include.embedded import components, platform
from include.embedded.environment import INSTANCE, airflow_environment
from include.settings import PROJECT, Settings


def main(arguments: Sequence[str]) -> int:
    """Run one command: up, down, status, clean, or env with a program to run. Returns the exit code."""
    load_dotenv(PROJECT / ".env")
    parser = argparse.ArgumentParser(prog="python -m include.embedded", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status", "clean", "env"])
    parser.add_argument(
        "program", nargs=argparse.REMAINDER, help="with 'env': a command to run in the platform's environment"
    )
    chosen = parser.parse_args(arguments)
    settings = Settings.from_environment()
    os.environ["EVERGREEN_HOME"] = str(settings.home)
    try:
        if chosen.command == "env":
            return _env(settings, chosen.program)
        return {"up": _up, "down": _down, "status": _status, "clean": _clean}[chosen.command](settings)
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
    states, faults = platform.states(settings), platform.problems(settings)
    faults |= components.server_problems(settings)
    known = [
        *components.commands(settings),
        *(name for name in sorted({*states, *faults}) if name not in components.commands(settings)),
    ]
    urls = components.addresses(settings)
    print(f"{'component':<28} {'state':<9} {'address':<23} health")
    for name in known:
        container = settings.engine == "docker" and name not in components.commands(settings)
        state = ("RUNNING" if faults.get(name) is None else "BROKEN") if container else states.get(name, "MISSING")
        if state != "RUNNING":
            faults[name] = faults.get(name) or f"supervisord reports {state}"
        print(f"{name:<28} {state:<9} {urls.get(name, ''):<23} {faults.get(name) or 'healthy'}")
    print(addresses(settings))
    return 1 if any(faults.get(name) for name in known) else 0


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
    """The addresses of all components, and how to log in."""
    lines = [
        f"web UI      http://127.0.0.1:{settings.airflow_port}   admin / {settings.secret('admin_password')}",
        f"MLflow      http://127.0.0.1:{settings.mlflow_port}   admin / {settings.secret('mlflow_password')}",
        (
            f"prediction  http://127.0.0.1:{settings.gateway_port}/v2/models/<model>/infer   bearer token in "
            f"{settings.secrets / 'prediction_token'}"
        ),
    ]
    if settings.prometheus:
        login = f"admin / {settings.secret('prometheus_password')}"
        lines.append(f"Prometheus  http://127.0.0.1:{settings.prometheus_port}   {login}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
