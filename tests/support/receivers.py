"""A webhook and a mail server on loopback that keep what they receive."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Webhook:
    """What was posted to ``url``; each post is answered with ``status``."""

    url: str = ""
    status: int = 200
    posted: list[Any] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [content["text"] for content in self.posted]


@dataclass
class Mailbox:
    """The raw mails that the server accepted, and whom it was asked to deliver them to."""

    port: int = 0
    raw: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)

    @property
    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(raw, EmailMessage, policy=policy.default) for raw in self.raw]

    @property
    def connection(self) -> dict[str, Any]:
        """Airflow's connection to this server."""
        extra = {"to": "team@example.test, call@example.test", "from_email": "evergreen@example.test"}
        unprotected = {"disable_ssl": True, "disable_tls": True, "timeout": 5}
        return {"conn_type": "smtp", "host": "127.0.0.1", "port": self.port, "extra": {**extra, **unprotected}}


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A webhook, until the block ends."""
    received = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(received.status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Keep the tests' output clean."""

    with _served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        received.url = f"http://127.0.0.1:{port}/services/the-secret-path"
        yield received


@contextmanager
def mail_server() -> Iterator[Mailbox]:
    """A mail server, until the block ends."""
    received = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def reply(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

        def handle(self) -> None:
            self.reply("220 mail.example.test ESMTP")
            for line in self.rfile:
                verb = line[:4].upper().strip()
                if verb == b"RCPT":
                    received.recipients.append(line.decode().partition(":")[2].strip(" <>\r\n"))
                if verb == b"DATA":
                    self.reply("354 go on")
                    received.raw.append(b"".join(iter(self.rfile.readline, b".\r\n")))
                self.reply("221 bye" if verb == b"QUIT" else "250 ok")
                if verb == b"QUIT":
                    return

    with _served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        received.port = port
        yield received


@contextmanager
def _served(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
