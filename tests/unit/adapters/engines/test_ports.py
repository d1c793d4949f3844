"""Which port the next model server gets."""

import socket
from pathlib import Path

import pytest

from include.adapters.engines.ports import free_server_port, is_free
from include.core.errors import PlatformError
from include.settings import Settings
from tests.support.ports import free_port


def test_a_port_that_a_program_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not is_free(listener.getsockname()[1])


def test_ports_that_are_taken_are_passed_over_whether_or_not_a_program_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        first = listener.getsockname()[1]
        here = Settings(home=tmp_path, server_ports=f"{first}-{first + 20}")
        chosen = free_server_port(here, {first + 1})
        assert first + 1 < chosen <= first + 20
        with pytest.raises(PlatformError, match=f"EVERGREEN_SERVER_PORTS={first}-{first}"):
            free_server_port(Settings(home=tmp_path, server_ports=f"{first}-{first}"), set())


def test_the_first_free_port_is_taken(tmp_path: Path) -> None:
    port = free_port()
    assert free_server_port(Settings(home=tmp_path, server_ports=f"{port}-{port}"), set()) == port
    with pytest.raises(PlatformError, match="Widen the range"):
        free_server_port(Settings(home=tmp_path, server_ports=f"{port}-{port}"), {port})
