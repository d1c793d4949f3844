"""A confined server listens on the socket that the launcher hands it: it works, and there is no other."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from include.adapters.engines.process.confinement import confined_command
from tests.support.ports import free_port
from tests.unit.adapters.engines.process.attacks import needs_table

pytestmark = [pytest.mark.integration, needs_table]

SERVER = """
    import os, socket
    def tried(function, *arguments):
        try:
            print("did", function(*arguments), flush=True)
        except OSError as error:
            print(type(error).__name__, flush=True)
    handed = socket.socket(fileno=int(os.environ["EVERGREEN_SOCKET"]))
    tried(socket.socket, socket.AF_INET, socket.SOCK_STREAM)
    tried(socket.socket, socket.AF_INET6, socket.SOCK_DGRAM)
    with handed as server:
        server.listen(5)
        tried(server.bind, ("127.0.0.1", 0))
        tried(server.connect, ("127.0.0.1", 1))
"""


def test_a_server_listens_on_the_socket_that_it_was_handed_and_gets_no_other(tmp_path: Path) -> None:
    """A socket that listens unbound gets a port from the kernel, at which the server could be asked from anywhere."""
    port = free_port()
    code = (
        SERVER
        + """
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print("listening", flush=True)
        client, _ = server.accept()
        client.sendall(client.recv(100).upper())
    """
    )
    command = confined_command(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path, readable=[], writable=[], scratch=tmp_path / "scratch", memory_mb=512, listen=("127.0.0.1", port),
    )  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert [server.stdout.readline() for _ in range(4)] == ["PermissionError\n"] * 4
        assert server.stdout.readline() == "listening\n"
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"HELLO"
        assert server.wait(10) == 0


def test_a_server_whose_port_is_taken_says_so_and_does_not_start(tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    command = confined_command(
        [sys.executable, "-c", "print('started')"],
        cwd=tmp_path, readable=[], writable=[], scratch=tmp_path / "scratch", memory_mb=512, listen=("127.0.0.1", port),
    )  # fmt: skip
    with taken:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"port {port} of 127.0.0.1 can't be used: Address already in use\n"
