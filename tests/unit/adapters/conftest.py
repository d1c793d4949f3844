"""The databases that the store can be in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.support.database_servers import PostgreSQL, postgresql


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSQL]:
    with postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("database_servers"))])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a new, empty store, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'evergreen.db'}"
    server = cast(PostgreSQL, request.getfixturevalue("postgres"))
    return server.new_database().replace("postgresql://", "postgresql+psycopg2://")
