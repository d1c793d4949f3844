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
from include.embedded import parts, platform
from include.embedded.environment import INSTANCE, airflow_environment
from include.settings import PROJECT, Settings


def main(arguments: Sequence[str]) -> int:
    """Run one command: up, down, status, clean, or env with a program. Returns the exit code."""
    load_dotenv(PROJECT / ".env")
    parser = argparse.ArgumentParser(prog="python -m include.embedded", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status", "clean", "env"])
    parser.add_argument("program", nargs=argparse.REMAINDER, help="with 'env': a command to run inside of it")
    chosen = parser.parse_args(arguments)
    here = Settings.from_environment()
    os.environ["EVERGREEN_HOME"] = str(here.home)
    try:
        if chosen.command == "env":
            return _env(here, chosen.program)
        return {"up": _up, "down": _down, "status": _status, "clean": _clean}[chosen.command](here)
    except EvergreenError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted. 'make up' goes on, 'make down' stops what runs.", file=sys.stderr)
        return 130


def _up(here: Settings) -> int:
    start = time.monotonic()
    already = platform.running(here)
    platform.up(here)
    print("the platform runs already" if already else f"the platform is up after {time.monotonic() - start:.0f} s")
    print(addresses(here))
    return 0


def _down(here: Settings) -> int:
    for name in platform.down(here):
        print(f"ended: {name}")
    print("nothing of this installation runs")
    return 0


def _clean(here: Settings) -> int:
    platform.clean(here)
    print(f"{here.home} is removed")
    return 0


def _status(here: Settings) -> int:
    if not platform.running(here):
        print("the platform is down. 'make up' starts it.")
        return 1
    states, wrong = platform.states(here), platform.problems(here)
    wrong |= parts.server_problems(here)
    known = [*parts.commands(here), *(name for name in sorted({*states, *wrong}) if name not in parts.commands(here))]
    where = parts.addresses(here)
    print(f"{'part':<28} {'state':<9} {'address':<23} health")
    for name in known:
        container = here.engine == "docker" and name not in parts.commands(here)
        state = ("RUNNING" if wrong.get(name) is None else "BROKEN") if container else states.get(name, "MISSING")
        if state != "RUNNING":
            wrong[name] = wrong.get(name) or f"supervisord says {state}"
        print(f"{name:<28} {state:<9} {where.get(name, ''):<23} {wrong.get(name) or 'well'}")
    print(addresses(here))
    return 1 if any(wrong.get(name) for name in known) else 0


def _env(here: Settings, program: list[str]) -> int:
    environment = airflow_environment(here)
    del environment[INSTANCE]  # what a user starts is the user's: 'down' leaves it alone
    program = program[1:] if program[:1] == ["--"] else program
    if program:
        return subprocess.run(program, env={**os.environ, **environment}, check=False).returncode
    for name, value in sorted(environment.items()):
        print(f"export {name}={shlex.quote(value)}")
    return 0


def addresses(here: Settings) -> str:
    """Where everything is, and how to get in."""
    lines = [
        f"web UI      http://127.0.0.1:{here.airflow_port}   admin / {here.secret('admin_password')}",
        f"MLflow      http://127.0.0.1:{here.mlflow_port}   admin / {here.secret('mlflow_password')}",
        (
            f"prediction  http://127.0.0.1:{here.gateway_port}/v2/models/<model>/infer   bearer token in "
            f"{here.secrets / 'prediction_token'}"
        ),
    ]
    if here.prometheus:
        login = f"admin / {here.secret('prometheus_password')}"
        lines.append(f"Prometheus  http://127.0.0.1:{here.prometheus_port}   {login}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
