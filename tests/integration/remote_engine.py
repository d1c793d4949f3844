"""The machine's Docker Engine as a remote one: behind mutual TLS on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any


@contextlib.contextmanager
def behind_tls(folder: Path) -> Iterator[tuple[dict[str, Any], list[bool]]]:
    """The Airflow connection that names it, and a list that grows with each connection that is made."""
    pair = ["-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    making = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *pair, *names]
    subprocess.run(making, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "certificate"))
    context.load_cert_chain(folder / "certificate", folder / "key")
    context.verify_mode = ssl.CERT_REQUIRED
    seen: list[bool] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(True)
        unix_reader, unix_writer = await asyncio.open_unix_connection("/var/run/docker.sock")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
                sink.close()

        await asyncio.gather(pump(reader, unix_writer), pump(unix_reader, writer))

    loop = asyncio.new_event_loop()
    Thread(target=loop.run_forever, daemon=True).start()
    listening = asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    listener = asyncio.run_coroutine_threadsafe(listening, loop).result(10)
    port = listener.sockets[0].getsockname()[1]
    files = {"ca_cert": "certificate", "client_cert": "certificate", "client_key": "key"}
    extra = {name: str(folder / file) for name, file in files.items()}
    connection = {"conn_type": "docker", "host": "127.0.0.1", "port": port, "extra": extra}
    try:
        yield connection, seen
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        loop.call_soon_threadsafe(loop.call_soon, loop.stop)
