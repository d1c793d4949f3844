"""Private PostgreSQL and Redis servers on free loopback ports: what the platform ``celery`` is given in production.

Debian starts none of its own for these tests. PostgreSQL refuses to run as root, so root becomes another user for it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psycopg2
import redis

from tests.support.ports import free_port
from tests.support.waiting import wait_for

PASSWORD = "a $ecret, 100%"
"""Of both servers; in a URL, most of its characters are quoted."""
QUOTED = "a%20%24ecret%2C%20100%25"


def program(name: str) -> str | None:
    """The path of one of PostgreSQL's or Redis's programs; Debian keeps PostgreSQL's servers outside of PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(versions[-1]) if versions else shutil.which(name)


def missing_servers() -> str:
    """Why these servers can't be started, and how to get them; empty if they can."""
    if not program("initdb") or not program("postgres"):
        return "PostgreSQL is not installed. On Debian and Ubuntu: apt install --no-install-recommends postgresql"
    if not program("redis-server"):
        return "redis-server is not on PATH. On Debian and Ubuntu: apt install --no-install-recommends redis-server"
    if not shutil.which("setpriv"):
        return "setpriv is not on PATH. On Debian and Ubuntu: apt install util-linux"
    if os.geteuid() == 0 and not _other_user():
        return "PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody' to become"
    return ""


def _other_user() -> pwd.struct_passwd | None:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


@dataclass
class Server:
    """One server, which can be killed or ended, and started again on the same data."""

    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        with self.log.open("ab") as log:
            # Killed with the test's process, which a time-out ends without its fixtures.
            command = ["setpriv", "--pdeathsig", "KILL", *self.command]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it (for PostgreSQL, SIGINT closes all connections), or kill it; returns once it has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class PostgreSQL(Server):
    """A cluster with one superuser ``evergreen``."""

    port: int = 0

    def url(self, database: str) -> str:
        return f"postgresql://evergreen:{QUOTED}@127.0.0.1:{self.port}/{database}"

    def responds(self) -> bool:
        assert self.alive, self.log.read_text(encoding="utf-8", errors="replace")
        with contextlib.suppress(psycopg2.OperationalError):
            psycopg2.connect(self.url("postgres"), connect_timeout=2).close()
            return True
        return False

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"db_{uuid.uuid4().hex[:12]}"
        with contextlib.closing(psycopg2.connect(self.url("postgres"))) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"CREATE DATABASE {name}")
        return self.url(name)


@dataclass
class Redis(Server):
    """A server that loses no message when it is killed."""

    port: int = 0

    @property
    def url(self) -> str:
        return f"redis://:{QUOTED}@127.0.0.1:{self.port}/0"

    def responds(self) -> bool:
        assert self.alive, self.log.read_text(encoding="utf-8", errors="replace")
        with contextlib.suppress(redis.RedisError), contextlib.closing(redis.Redis.from_url(self.url)) as client:
            return bool(client.ping())
        return False


S = TypeVar("S", PostgreSQL, Redis)


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A new cluster below the folder of temporary files, started; removed afterwards."""
    with _folder("pg") as folder:
        become: list[str] = []
        if os.geteuid() == 0:
            user = _other_user()
            assert user is not None
            os.chown(folder, user.pw_uid, user.pw_gid)
            ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
            become = ["setpriv", *ids, "--clear-groups", "--inh-caps=-all", "--pdeathsig", "KILL"]
        secret, data, port = folder / "password", folder / "data", free_port()
        secret.write_text(PASSWORD, encoding="utf-8")
        secret.chmod(0o644)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "max_connections": 200,
            "fsync": "off",  # of the machine's crash nothing is tested here
        }
        made = [
            *(str(program("initdb")), "--auth=scram-sha-256", "--username=evergreen", "--encoding=UTF8", "--no-sync"),
            *("--locale=C", f"--pwfile={secret}", str(data)),
        ]
        done = subprocess.run([*become, *made], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [*become, str(program("postgres")), "-D", str(data), *options]
        with _running(PostgreSQL(command, folder / "log", port=port)) as server:
            yield server


@contextmanager
def redis_server() -> Iterator[Redis]:
    """A new server, started; its data are removed afterwards."""
    with _folder("redis") as folder:
        port, config = free_port(), folder / "redis.conf"
        lines = ["bind 127.0.0.1", f"port {port}", f"dir {folder}", f'requirepass "{PASSWORD}"', "appendonly yes"]
        config.write_text("\n".join([*lines, "appendfsync always", ""]), encoding="utf-8")
        config.chmod(0o600)
        command = [str(program("redis-server")), str(config)]
        with _running(Redis(command, folder / "log", port=port)) as server:
            yield server


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"eg-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(server: S) -> Iterator[S]:
    server.start()
    try:
        wait_for(server.responds, 60, "the server's first answer", server.log)
        yield server
    finally:
        server.stop()
