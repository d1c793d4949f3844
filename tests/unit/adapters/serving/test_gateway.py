"""The admin API of the gateway hangs up now and then: reading is tried again, changing is not."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.adapters.serving.gateway import Gateway
from include.core.errors import PlatformError
from include.settings import Settings


class AdminApi:
    """A server on Caddy's socket that hangs up on the next so many requests, then has no route of any model."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.hangs_up, self.asked = 0, list[str]()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                self.asked.append(client.recv(65536).split(b" ")[0].decode())
                if self.hangs_up:
                    self.hangs_up -= 1
                else:
                    client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def here() -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="eg-") as home:
        found = Settings(home=Path(home))
        found.run.mkdir()
        yield found


@pytest.fixture
def api(here: Settings) -> Iterator[AdminApi]:
    found = AdminApi(here.run / "caddy.sock")
    yield found
    found.listener.close()


def test_a_question_on_which_it_hangs_up_is_asked_again(here: Settings, api: AdminApi) -> None:
    api.hangs_up = 2
    assert Gateway(here).weights("late") == {}
    assert api.asked == ["GET"] * 3


def test_a_change_on_which_it_hangs_up_is_not_made_twice(here: Settings, api: AdminApi) -> None:
    gateway = Gateway(here)
    api.hangs_up = 10
    with pytest.raises(PlatformError, match="admin API does not respond"):
        gateway._ask("PUT", "/config/", json={})
    assert api.asked == ["PUT"]


def test_a_gateway_that_never_answers_is_named_with_the_remedy(here: Settings, api: AdminApi) -> None:
    api.hangs_up = 10
    with pytest.raises(PlatformError, match="'make up' starts it"):
        Gateway(here).weights("late")
