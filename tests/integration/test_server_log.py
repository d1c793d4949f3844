"""A real model server and its log: no answer without its line, whatever becomes of the server or its disk."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.model_bundle import CLIENTS, Server, clients_of, start_server
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


KINDS = [("bundle", False), ("compiled", False), ("compiled", True)]
"""A fixture's name, and whether the log is durable."""


@pytest.fixture(scope="module", params=KINDS, ids=["fitted", "compiled", "durable"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = request.getfixturevalue(request.param[0])
    with start_server(tmp_path_factory.mktemp("server"), config, durable_log=request.param[1]) as running:
        yield running


@contextmanager
def file_size_limit(server: Server, room: Any) -> Iterator[Any]:
    """The server's log may grow by ``room`` bytes and no more, as on a disk that is full."""
    pid, kind = server.process.pid, resource.RLIMIT_FSIZE
    soft, hard = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (server.segments()[-1].stat().st_size + room, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, kind, (soft, hard))


@pytest.mark.parametrize("room, new_segments", [(0, 0), (40, 1)])
def test_no_prediction_leaves_that_could_not_be_logged(server: Server, room: int, new_segments: int) -> None:
    assert server.infer().status_code == 200
    before, segments = set(server.logged()), len(server.segments())
    with file_size_limit(server, room):
        response = server.infer()
        assert response.status_code == 503
        assert response.json() == {"error": "the prediction could not be logged, so it is not returned: File too large"}
    assert set(server.logged()) == before
    assert server.count('evergreen_requests_total{code="503"}') > 0
    response = server.infer()
    assert response.status_code == 200
    assert set(server.logged()) == {*before, response.json()["id"]}
    assert len(server.segments()) == segments + new_segments


@pytest.mark.parametrize(("kind", "durable"), KINDS, ids=["fitted", "compiled", "durable"])
def test_each_answer_of_a_killed_server_is_in_its_log(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, durable: bool
) -> None:
    config = request.getfixturevalue(kind)
    with start_server(tmp_path, config, durable_log=durable) as server, clients_of(server) as traffic:
        wait_for(lambda: len(traffic.answered) >= 100, 60, "100 answers")
        server.process.send_signal(signal.SIGKILL)
        assert server.process.wait(10) == -signal.SIGKILL
    logged = server.logged()
    assert not traffic.refused
    assert {key: logged[key]["predictions"] for key in traffic.predictions} == traffic.predictions
    assert len(logged) <= len(traffic.predictions) + CLIENTS


FAILING_DISK = """
import os, runpy, sys
from pathlib import Path

real, broken = os.fdatasync, Path(sys.argv[1]).parent / "broken"

def sync(descriptor):
    if broken.exists():
        raise OSError(5, "Input/output error")
    real(descriptor)

os.fdatasync = sync
runpy.run_module("include.runtime.serve", run_name="__main__")
"""


def test_a_durable_server_whose_disk_fails_answers_nobody_wrongly_and_ends_to_be_started_again(
    tmp_path: Path, compiled: Any
) -> None:
    with (
        start_server(tmp_path, compiled, program=("-c", FAILING_DISK), durable_log=True) as server,
        clients_of(server) as traffic,
    ):
        wait_for(lambda: len(traffic.answered) >= 50, 60, "50 answers")
        (tmp_path / "broken").touch()
        assert server.process.wait(30) == 1, "supervisord does not start what ended with 0"
    why = "the prediction could not be logged, so it is not returned: Input/output error"
    assert set(traffic.refused) == {f'503 {{"error":"{why}"}}'}
    assert set(server.logged()) >= set(traffic.answered)
