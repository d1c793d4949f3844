"""A server that is killed while it answers has sent all of a response or nothing."""

import socket
import subprocess
import sys
from pathlib import Path

SERVER = """
import os, signal, socket, sys
import uvicorn
from include.runtime.whole_responses import WholeResponseProtocol

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only HTTP")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    if scope["path"] == "/killed":
        os.kill(os.getpid(), signal.SIGKILL)
    await send({"type": "http.response.body", "body": b"ok"})

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config(app, http=WholeResponseProtocol, log_level="warning", access_log=False)
uvicorn.Server(config).run(sockets=[listener])
"""


def received(connection: socket.socket, path: str, until: bytes = b"") -> bytes:
    """What comes back for a request, until ``until`` or the end of the connection."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: model\r\n\r\n".encode())
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
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", SERVER], cwd=root, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            with socket.create_connection(("127.0.0.1", int(server.stdout.readline())), 30) as connection:
                assert received(connection, "/", b"ok").startswith(b"HTTP/1.1 200 OK")
                assert received(connection, "/", b"ok").endswith(b"\r\n\r\nok"), "the connection goes on"
                assert received(connection, "/killed") == b""
            assert server.wait(30) == -9
        finally:
            server.kill()
