"""Plays the attacks in jobs of an engine, and looks at what they have reached or changed."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from include.adapters.engines.process.confinement import Completed, run_confined
from tests.attacks.programs import BOUNDS, PRELUDE, TOGETHER
from tests.support.ports import free_port

if TYPE_CHECKING:
    from include.adapters.engines.docker.client import DockerHost

SECONDS = 120.0
BOUND_SECONDS = 3.0
MEMORY_MB = 512
DISK_MB = 1024
MARK = "a-process-of-the-platform"
DRIVER = """
import json, subprocess, sys
for name, program in json.load(open("attacks.json")).items():
    try:
        done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=15)
        output = done.stdout + done.stderr[-300:]
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode() + "timed out"
    except OSError as error:
        output = str(error)
    print(json.dumps([name, output]), flush=True)
"""

Job = Callable[[Path, list[str], Path, float], Completed]
"""Runs a command in this folder, the only one that it may write, with this log and time limit."""


@dataclass
class Target:
    """What the attacks aim at, outside of their job."""

    home: Path
    victim: psutil.Process
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    survivor: str = field(default_factory=lambda: f"survivor-{secrets.token_hex(8)}")
    clients: list[str] = field(default_factory=list)
    port: int = 0
    free: int = 0

    @property
    def secret(self) -> Path:
        """A key of the platform."""
        return self.home / "secrets" / "key"

    @property
    def foreign(self) -> Path:
        """A file of the platform that everyone may read."""
        return self.home / "foreign"

    def aim(self) -> dict[str, Any]:
        """What a program is told."""
        return {
            "secret": str(self.secret),
            "foreign": str(self.foreign),
            "victim": self.victim.pid,
            "port": self.port,
            "free": self.free,
            "unix": str(self.home / "u.sock"),
            "home": str(self.home),
            "token": self.token,
            "survivor": self.survivor,
        }

    def state(self) -> dict[str, Any]:
        """What must be the same afterwards."""
        found = self.foreign.stat()
        victim = self.victim
        return {
            "the foreign file": (self.foreign.read_text(), found.st_mode, found.st_mtime_ns, found.st_uid),
            "its attributes": os.listxattr(self.foreign),
            "the secret": self.secret.read_text(),
            "the platform's files": sorted(str(path) for path in self.home.rglob("*")),
            "the victim": (
                victim.is_running(),
                victim.status() != psutil.STATUS_ZOMBIE,
                victim.nice(),
                victim.rlimit(psutil.RLIMIT_CPU),
            ),
            "clients of its port": list(self.clients),
        }

    def survivors(self) -> list[str]:
        """Processes that the attacks left."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if self.survivor in process.cmdline():
                    found.append(f"process {process.pid} survived")
                    process.kill()
        return found


@contextmanager
def target(home: Path) -> Iterator[Target]:
    """The platform as attacks see it: a home with a secret, a process, and services on a port and on sockets."""
    command = [sys.executable, "-c", "import time; time.sleep(1000)", MARK]
    with subprocess.Popen(command) as process, socket.create_server(("127.0.0.1", 0)) as listening:
        made = Target(home, psutil.Process(process.pid), port=listening.getsockname()[1], free=free_port())
        made.secret.parent.mkdir(parents=True, mode=0o700)
        made.secret.write_text(made.token, encoding="utf-8")
        made.foreign.write_text("of the platform", encoding="utf-8")
        sockets = [listening]
        for address in (str(home / "u.sock"), f"\0{home / 'u.sock'}"):
            service = socket.socket(socket.AF_UNIX)
            service.bind(address)
            service.listen()
            sockets.append(service)
        datagrams = socket.socket(type=socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", made.port))
        for service in sockets:
            threading.Thread(target=_accept, args=(service, made.clients), daemon=True).start()
        threading.Thread(target=_receive, args=(datagrams, made.clients), daemon=True).start()
        stop = threading.Event()
        threading.Thread(target=_visit, args=(made.free, stop), daemon=True).start()
        try:
            yield made
        finally:
            stop.set()
            for service in (*sockets[1:], datagrams):
                service.close()
            process.kill()


def play(aimed: Target, folder: Path, job: Job) -> dict[str, str]:
    """Play all attacks; returns each attack with what it reached or changed (empty: nothing)."""
    outcomes = {}
    before = aimed.state()
    work = folder / "together"
    programs = {name: f"{number}.py" for number, name in enumerate(TOGETHER)}
    _write(work, aimed, {program: _guarded(TOGETHER[name]) for name, program in programs.items()})
    (work / "attacks.json").write_text(json.dumps(programs), encoding="utf-8")
    (work / "driver.py").write_text(DRIVER, encoding="utf-8")
    log = folder / "together.log"
    done = job(work, ["driver.py"], log, SECONDS * 3)
    outputs = dict(_pairs(log.read_text(encoding="utf-8", errors="replace")))
    for name in TOGETHER:
        outcomes[name] = _reached(outputs[name]) if name in outputs else f"did not run: {done.output_tail[-200:]}"
    for number, (name, code) in enumerate(BOUNDS.items()):
        work = folder / str(number)
        _write(work, aimed, {"program.py": _guarded(code)})
        started = time.monotonic()
        done = job(work, ["program.py"], folder / f"{number}.log", BOUND_SECONDS)
        late = time.monotonic() - started > 20 * BOUND_SECONDS
        outcomes[name] = _reached(done.output_tail) or ("it was not ended in time" if late else "")
    after = aimed.state()
    changed = [what for what in before if before[what] != after[what]]
    outcomes["leave the platform unchanged"] = "; ".join(f"{what} changed: {after[what]}"[:300] for what in changed)
    outcomes["leave no process behind"] = "; ".join(aimed.survivors())
    shared = Path("/dev/shm/planted")
    outcomes["leave no shared memory behind"] = "it is still there" if shared.exists() else ""
    return outcomes


def contained(host: DockerHost) -> Job:
    """Jobs of the engine docker, in its base image."""
    from include.adapters.engines.docker import images
    from include.adapters.engines.docker.job import Limits, run_in_container

    image = images.base_image(host)

    def run(work: Path, arguments: list[str], log: Path, seconds: float) -> Completed:
        return run_in_container(
            host,
            image,
            ["python3", *arguments],
            cwd=work,
            readable=[],
            writable=work,
            log=log,
            time_limit=seconds,
            limits=Limits(MEMORY_MB, 256, file_mb=512, disk_mb=DISK_MB),
            network=False,
            environment={},
            about={},
        )

    return run


def confined(aimed: Target, folder: Path) -> Job:
    """Jobs of the engine process, as trainings without network have them."""

    def run(work: Path, arguments: list[str], log: Path, seconds: float) -> Completed:
        return run_confined(
            [sys.executable, *arguments],
            cwd=work,
            readable=[],
            writable=[work],
            scratch=folder / "scratch",
            log=log,
            time_limit=seconds,
            memory_mb=MEMORY_MB,
            processes=256,
            disk_mb=DISK_MB,
            env={},
        )

    return run


def _write(work: Path, aimed: Target, programs: dict[str, str]) -> None:
    """A job's folder; what it aims at is in a file, so that no command line names it."""
    work.mkdir(parents=True)
    (work / "aim.json").write_text(json.dumps(aimed.aim()), encoding="utf-8")
    for name, program in programs.items():
        (work / name).write_text(program, encoding="utf-8")


def _guarded(code: str) -> str:
    refused = "except BaseException as error:\n    print('refused:', repr(error))\n"
    return f"{PRELUDE}\ntry:\n{textwrap.indent(code, '    ')}\n{refused}"


def _reached(output: str) -> str:
    return "; ".join(line for line in output.splitlines() if line.startswith("GOT "))


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        with suppress(ValueError):
            name, output = json.loads(line)
            yield name, output


def _accept(service: socket.socket, clients: list[str]) -> None:
    with suppress(OSError):
        while True:
            connection, _ = service.accept()
            clients.append(f"a connection to {service.getsockname()}")
            connection.close()


def _receive(service: socket.socket, clients: list[str]) -> None:
    with suppress(OSError):
        while service.recv(100):
            clients.append("a datagram")


def _visit(port: int, stop: threading.Event) -> None:
    """Someone of the machine who connects to whatever listens on the port."""
    while not stop.wait(0.2):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 0.2).close()
