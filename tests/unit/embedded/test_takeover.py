"""What still serves after supervisord was killed: how it is found, and what its successor takes over."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from include.embedded import processes, takeover
from include.embedded.environment import INSTANCE
from include.embedded.gateway_config import gateway_config
from include.embedded.platform import LONGEST_SOCKET_PATH
from include.settings import PROJECT, Settings
from tests.support.running_platform import short_folder
from tests.support.waiting import wait_for

HASH = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
LISTENER = """
import socket, time
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
time.sleep(60)
"""


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path)
    for folder in ("run", "secrets"):
        (tmp_path / folder).mkdir()
    (settings.secrets / "prediction_token").write_text("token", encoding="utf-8")
    return settings


@pytest.fixture
def listener() -> Iterator[Any]:
    """A process that listens on a port, and the port."""
    arguments = [sys.executable, "-c", LISTENER, "-m", "runtime.serve"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield psutil.Process(process.pid), int(process.stdout.readline())
        process.kill()


def written(settings: Settings) -> Any:
    takeover.write_gateway_config(settings, HASH)
    return json.loads((settings.run / "caddy.json").read_text(encoding="utf-8"))


def admin_socket(config: Any) -> str:
    return str(config["admin"]["listen"]).removeprefix("unix/").removesuffix("|0600")


def routes(config: Any) -> list[str]:
    return [str(route["@id"]) for route in config["apps"]["http"]["servers"]["gateway"]["routes"]]


def test_a_new_gateway_has_the_routes_of_the_previous_one_and_a_socket_of_its_own(here: Settings) -> None:
    first = gateway_config(here, HASH)
    first["apps"]["http"]["servers"]["gateway"]["routes"].insert(1, {"@id": "model-fares"})
    (here.run / "caddy.json").write_text(json.dumps(first), encoding="utf-8")
    second = written(here)
    assert routes(second) == routes(first)
    assert routes(second).index("anonymous") < routes(second).index("model-fares"), "nobody gets around the token"
    third = written(here)
    assert admin_socket(second) != admin_socket(third)
    assert str((here.run / "caddy.sock").readlink()) == admin_socket(third)


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"apps": {"http": {"servers": null}}}', None])
def test_a_damaged_configuration_is_written_anew(here: Settings, damage: str | None) -> None:
    if damage is not None:
        (here.run / "caddy.json").write_text(damage, encoding="utf-8")
    assert routes(written(here)) == routes(gateway_config(here, HASH))


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"apps": {"http": {"servers": {}}}}', None])
def test_a_configuration_is_damaged_when_caddy_could_not_start_with_it(here: Settings, damage: str | None) -> None:
    written(here)
    assert not takeover.config_is_damaged(here)
    file = here.run / "caddy.json"
    file.unlink() if damage is None else file.write_text(damage, encoding="utf-8")
    assert takeover.config_is_damaged(here)


@pytest.mark.parametrize("damage", ["removed", "a file", "of another socket"])
def test_the_link_to_the_admin_socket_is_restored(here: Settings, damage: str) -> None:
    config, link = written(here), here.run / "caddy.sock"
    link.unlink()
    if damage == "a file":
        link.write_text("", encoding="utf-8")
    elif damage == "of another socket":
        link.symlink_to(here.run / "caddy-0.sock")
    takeover.link_admin_socket(here)
    assert str(link.readlink()) == admin_socket(config)


def test_the_admin_socket_can_be_bound_below_the_longest_allowed_path() -> None:
    with short_folder() as folder:
        home = folder / ("d" * (LONGEST_SOCKET_PATH - len(str(folder / "run" / "supervisor.sock")) - 1))
        for name in ("run", "secrets"):
            (home / name).mkdir(parents=True)
        (home / "secrets" / "prediction_token").write_text("token", encoding="utf-8")
        assert len(str(home / "run" / "supervisor.sock")) == LONGEST_SOCKET_PATH
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(admin_socket(written(Settings(home=home))))


def test_the_ports_of_processes_are_found(listener: tuple[psutil.Process, int]) -> None:
    process, port = listener
    assert takeover.listening([process]) == {port}
    process.kill()
    process.wait()
    assert takeover.listening([process]) == set()


def test_a_program_is_known_by_its_name_or_by_an_argument(listener: tuple[psutil.Process, int]) -> None:
    process, _ = listener
    assert processes.runs(process, "runtime.serve")
    assert processes.runs(process, "nothing", Path(sys.executable).name)
    assert not processes.runs(process, "runtime", "serve", "listener")


def test_what_ended_meanwhile_is_not_alive(listener: tuple[psutil.Process, int]) -> None:
    process, _ = listener
    assert processes.alive([process]) == [process]
    processes.end([process])
    assert processes.alive([process]) == []
    assert processes.describe(process)
    processes.end([process])  # once more is harmless


@pytest.mark.integration
def test_a_supervisord_that_can_not_be_reached_is_ended_by_its_own_watchdog(here: Settings, tmp_path: Path) -> None:
    """It would start again whatever the watchdog ends: Prometheus held its port, so the platform never came up."""
    code = (
        "from pathlib import Path; from include.embedded import takeover; from include.settings import Settings\n"
        f"takeover.end_all_but_serving(Settings(home=Path({str(tmp_path)!r})))\n"
        f"Path({str(tmp_path / 'done')!r}).touch(); import time; time.sleep(600)"
    )
    (tmp_path / "watchdog.py").write_text(code, encoding="utf-8")
    other, python = "import time; time.sleep(600)", shlex.quote(sys.executable)
    config = tmp_path / "run" / "supervisord.conf"
    config.write_text(
        f"[supervisord]\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={tmp_path}/run/supervisord.pid\n"
        f"[program:other]\ncommand={python} -c '{other}'\n"
        f"[program:watchdog]\ncommand={python} {tmp_path}/watchdog.py\nautorestart=false\n",
        encoding="utf-8",
    )
    environment = {**os.environ, INSTANCE: str(tmp_path), "PYTHONPATH": str(PROJECT)}
    program = [str(Path(sys.executable).with_name("supervisord")), "-c", str(config)]
    subprocess.run(program, env=environment, check=True)
    try:
        wait_for((tmp_path / "done").exists, 60, "the end of everything else")
        left = [process.cmdline()[1:3] for process in processes.of_installation(here)]
        assert left == [[f"{tmp_path}/watchdog.py"]]
    finally:
        processes.kill(processes.supervisors(here))
        processes.kill(processes.of_installation(here))
