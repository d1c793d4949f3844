"""A response arrives whole or not at all, and a client that sends nothing keeps no connection."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SERVER = """
import asyncio, os, signal, socket, sys
import uvicorn
from include.runtime import connections

connections.REQUEST_SECONDS, connections.MAX_CONNECTIONS = float(sys.argv[1]), int(sys.argv[2])

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only HTTP")
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * connections.REQUEST_SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    if scope["path"] == "/killed":
        os.kill(os.getpid(), signal.SIGKILL)
    await send({"type": "http.response.body", "body": b"ok"})

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config(app, http=connections.ServerProtocol, log_level="warning", access_log=False)
uvicorn.Server(config).run(sockets=[listener])
"""
GET, POST = "GET {} HTTP/1.1\r\nHost: model\r\n\r\n", "POST / HTTP/1.1\r\nHost: model\r\nContent-Length: 10\r\n\r\n"


@contextlib.contextmanager
def served(seconds: float = 60, connections: int = 1024) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A server with these limits, and its port."""
    command = [sys.executable, "-c", SERVER, str(seconds), str(connections)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server, int(server.stdout.readline())
        finally:
            server.kill()


def received(connection: socket.socket, path: str, until: bytes = b"") -> bytes:
    """What comes back for a request, until ``until`` or the end of the connection."""
    connection.sendall(GET.format(path).encode())
    content = b""
    try:
        while not until or until not in content:
            content += (more := connection.recv(65536))
            if not more:
                break
    except ConnectionResetError:
        pass
    return content


def test_a_server_killed_between_headers_and_body_has_sent_neither() -> None:
    """Else the gateway has passed the headers on, and its client gets a broken response instead of another server's."""
    with served() as (server, port):
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            assert received(connection, "/", b"ok").startswith(b"HTTP/1.1 200 OK")
            assert received(connection, "/", b"ok").endswith(b"\r\n\r\nok"), "the connection goes on"
            assert received(connection, "/killed") == b""
        assert server.wait(30) == -9


BEGINNINGS = {
    "nothing": "",
    "half a line": "GET / HT",
    "half the headers": "GET / HTTP/1.1\r\nHost: model\r\nX: ",
    "headers and half the body": POST + "12345",
    "a request and half of another": GET.format("/") + "GET / HT",
    "two requests and half the body of a third": GET.format("/") * 2 + POST + "12345",
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_request_that_does_not_arrive_is_not_waited_for(beginning: str) -> None:
    with served(seconds=1) as (_, port), socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(BEGINNINGS[beginning].encode())
        content = b""
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(65536):
                content += more
        assert content.count(b"ok") == BEGINNINGS[beginning].count("GET / HTTP/1.1\r\nHost: model\r\n\r\n")


def test_a_request_that_takes_long_to_answer_or_comes_in_parts_is_answered() -> None:
    with served(seconds=1) as (_, port), socket.create_connection(("127.0.0.1", port), 30) as connection:
        assert received(connection, "/slow", b"ok").endswith(b"ok")
        connection.sendall(POST.encode() + b"12345")
        connection.sendall(b"67890")
        assert connection.recv(65536).endswith(b"ok")


def test_idle_connections_do_not_keep_others_out() -> None:
    """Thousands of connections that send nothing stalled a model server."""

    async def play(port: int) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET.format("/").encode())
        assert (await asyncio.wait_for(reader.readuntil(b"ok"), 30)).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(30):
            while sum(closed := [reader.at_eof() or bool(reader.exception()) for reader, _ in idle]) < 31:
                await asyncio.sleep(0.01)
        assert closed == [True] * 31 + [False] * 9, "those that have waited longest"
        for _, other in [*idle, (reader, writer)]:
            other.close()

    with served(connections=10) as (_, port):
        asyncio.run(play(port))
