"""The files of the engine ``process``: what is lost while a server runs is written again, and nothing is restarted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.core.spec import ModelSpec
from include.stages.installation import open_installation
from tests.integration.engine_contract import contract_place
from tests.support.engines import server_pid
from tests.support.serving import Serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Serving]:
    yield from contract_place("process", request)


@pytest.mark.parametrize("content", [None, ""], ids=["removed", "emptied"])
def test_the_file_that_supervisord_starts_a_server_from_is_written_again(
    place: Serving, served: ModelSpec, content: str | None
) -> None:
    """supervisord knows the program as long as it lives; its successor would not."""
    here, process = open_installation(), server_pid(served.name, "1")
    (path,) = (here.settings.run / "servers").glob(f"{served.name}.production.*.conf")
    whole = path.read_text(encoding="utf-8")
    path.unlink() if content is None else path.write_text(content, encoding="utf-8")
    here.engine.restore_files(served, "test")
    assert not path.exists() or not path.read_text(encoding="utf-8"), "not a server of this environment"
    here.engine.restore_files(served, "production")
    assert path.read_text(encoding="utf-8") == whole
    assert path.stat().st_mode & 0o777 == 0o600
    assert server_pid(served.name, "1") == process


@pytest.mark.parametrize("damage", ["", "{}", "{"])
def test_a_configuration_that_is_damaged_too_is_left_to_the_reconciler(
    place: Serving, served: ModelSpec, damage: str
) -> None:
    here = open_installation()
    (path,) = (here.settings.run / "servers").glob(f"{served.name}.production.*.json")
    path.write_text(damage, encoding="utf-8")
    path.with_suffix(".conf").unlink()
    here.engine.restore_files(served, "production")
    assert not path.with_suffix(".conf").exists()
    assert here.engine.servers(served.name, "production")["1"].state == "broken"
