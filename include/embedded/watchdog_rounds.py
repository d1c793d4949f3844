"""What the watchdog does every five seconds; :mod:`include.embedded.watchdog` starts it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault

import psutil

from include.adapters.removal import remove
from include.adapters.supervisord import open_supervisor
from include.core.errors import EvergreenError
from include.embedded import components, platform, processes, takeover
from include.embedded.gateway_config import hashed
from include.settings import PROJECT, Settings
from include.stages.installation import open_installation
from include.stages.upkeep import Upkeep

log = logging.getLogger("watchdog")

SECONDS = 5.0
CALL_SECONDS = 30.0
HEARTBEAT = "watchdog"
"""File in the folder ``run`` whose time says when the watchdog last looked."""
ROUNDS_OF_SERVERS = 3
"""Components are looked at in every third round: asking for their health costs more."""
SICK_ROUNDS = {"caddy": 2, "mlflow": 4, "prometheus": 4}
"""A component that is not healthy in this many looks in a row is restarted ..."""
SICK_ROUNDS_AIRFLOW = 12
"""... and one of Airflow's after this many, since its heartbeats are late on a busy machine."""
LONGEST_PAUSE = 600.0
DAY = 86400.0
RUNNING, STOPPED, EXITED, FATAL = 20, 0, 100, 200


@dataclass
class Servers:
    """Looks after model servers and routes."""

    settings: Settings
    command: list[str]
    """What reconciles everything, in a process of its own, which imports MLflow."""
    upkeep: Upkeep
    given_up: set[str] = field(default_factory=set)
    """What the last attempt could not put right."""
    failures: int = 0
    next_try: float = 0.0

    def round(self) -> None:
        """One look at all of them. What could not be put right is tried less and less often, the rest at once."""
        (self.settings.run / HEARTBEAT).touch()
        if platform.starting(self.settings):
            return
        different = set(self.upkeep.round())
        if not different - (self.given_up if time.monotonic() < self.next_try else set()):
            return
        log.warning("not as desired: %s", ", ".join(sorted(different)))
        done = subprocess.run(self.command, cwd=PROJECT, capture_output=True, text=True, check=False)
        for line in (done.stdout + done.stderr).splitlines():
            log.warning("%s", line)
        self.given_up = different if done.returncode else set()
        self.failures = self.failures + 1 if done.returncode else 0
        self.next_try = time.monotonic() + min(LONGEST_PAUSE, 10.0 * 2**self.failures)


@dataclass
class Watchdog:
    """Looks after the whole embedded platform."""

    settings: Settings
    servers: Servers
    sick: dict[str, int] = field(default_factory=dict)
    """Component → in how many looks in a row it was not healthy."""
    rounds: int = 0

    def round(self) -> None:
        """One look at everything; a step that fails holds up no other."""
        if (self.settings.run / platform.STOPPED).exists():
            return
        if self._supervisor_is_gone():
            log.warning("supervisord does not respond; the platform is started again")
            platform.up(self.settings)
            log.warning("the platform is up again")
            sys.exit(0)  # supervisord has started another watchdog
        attempt(self._end_stopped_processes)
        attempt(self.servers.round)
        self.rounds += 1
        if self.rounds % ROUNDS_OF_SERVERS == 0:
            attempt(self._look_after_components)
            attempt(self._clean_history)

    def _supervisor_is_gone(self) -> bool:
        """Twice in a row, so that a moment of silence does not count."""
        for _ in range(2):
            if platform.running(self.settings) or (self.settings.run / platform.STOPPED).exists():
                return False
            time.sleep(2)
        return True

    def _end_stopped_processes(self) -> None:
        """Kill processes that were stopped by a signal, which supervisord then starts again; also this one's parent."""
        for process in (*processes.of_installation(self.settings), psutil.Process(os.getppid())):
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_STOPPED:
                    log.warning("process %s is stopped; killed", processes.describe(process))
                    process.kill()

    def _look_after_components(self) -> None:
        supervisor = open_supervisor(self.settings.run)
        if takeover.config_is_damaged(self.settings):
            self._write_gateway_config(supervisor)
        takeover.link_admin_socket(self.settings)
        known = components.commands(self.settings)
        infos = {info["name"]: info for info in supervisor.getAllProcessInfo() if info["name"] in known}
        for name, info in infos.items():
            if info["state"] in (STOPPED, EXITED, FATAL):
                log.warning("%s is %s; started", name, info["statename"])
                supervisor.startProcess(name, False)
        problems = components.problems(self.settings, {name: float(info["start"]) for name, info in infos.items()})
        if problems.get("api-server"):  # the others report through it
            problems = {name: problem for name, problem in problems.items() if name not in components.AIRFLOW[:-1]}
        if problems.get("broker"):  # workers are asked through it, and their tasks go on meanwhile
            problems = {name: problem for name, problem in problems.items() if not name.startswith("worker-")}
        for name, problem in problems.items():
            self._restart_sick(supervisor, name, problem, infos.get(name, {}).get("state") == RUNNING)

    def _clean_history(self) -> None:
        """Once a day, remove Airflow's own old history and logs; tasks have no access to its database."""
        mark = self.settings.run / "history-cleaned"
        if not mark.exists():  # a new installation has no history yet
            mark.touch()
        if time.time() - mark.stat().st_mtime < DAY or platform.starting(self.settings):
            return
        mark.touch()
        before = datetime.now(UTC) - timedelta(days=self.settings.history_days)
        airflow = Path(sys.executable).with_name("airflow")
        command = [str(airflow), "db", "clean", "--yes", "--skip-archive", "--clean-before-timestamp", str(before)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=3600)
        if done.returncode:
            log.warning("Airflow's history could not be cleaned: %s", done.stderr[-500:])
        for path in (self.settings.home / "airflow" / "logs").glob("*/*"):
            if path.stat().st_mtime < before.timestamp():
                remove(path)

    def _write_gateway_config(self, supervisor: Any) -> None:
        """From the running Caddy, or else from nothing; then the models' routes are restored next."""
        try:
            self.servers.upkeep.installation.gateway.save_config()
            log.warning("caddy.json was damaged; saved again")
        except EvergreenError:
            takeover.write_gateway_config(self.settings, hashed(self.settings.secret("mlflow_password")))
            log.warning("caddy.json was damaged; written again")
            with contextlib.suppress(Fault):
                supervisor.stopProcess("caddy")
            supervisor.startProcess("caddy", False)

    def _restart_sick(self, supervisor: Any, name: str, problem: str | None, running: bool) -> None:
        self.sick[name] = self.sick.get(name, 0) + 1 if problem and running else 0
        if self.sick[name] >= SICK_ROUNDS.get(name, SICK_ROUNDS_AIRFLOW):
            log.warning("%s %s; restarted", name, problem)
            self.sick[name] = 0
            supervisor.stopProcess(name)
            supervisor.startProcess(name, False)


def attempt(step: Callable[[], None]) -> None:
    """Take a step; an error is logged, since the next round tries again."""
    try:
        step()
    except (EvergreenError, OSError, Fault, psutil.Error, subprocess.SubprocessError) as error:
        log.warning("%s: %s", step.__qualname__, error)
    except Exception:
        log.exception("%s", step.__qualname__)


def look(only_servers: bool) -> None:
    """Look after the installation until this process is stopped."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    socket.setdefaulttimeout(CALL_SECONDS)
    os.umask(0o077)
    settings = Settings.from_environment()
    module = "include.embedded.compose" if only_servers else "include.embedded"
    servers = Servers(settings, [sys.executable, "-m", module, "reconcile"], Upkeep(open_installation(settings)))
    step = servers.round if only_servers else Watchdog(settings, servers).round
    parent = os.getppid()
    # Once its parent was killed, supervisord starts another pair; if that was killed too, this process starts both.
    while os.getppid() == parent or not platform.running(settings):
        attempt(step)
        time.sleep(SECONDS)
