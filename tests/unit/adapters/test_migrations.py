"""The store's tables from release to release: upgraded by themselves, never by a release that is too old."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from include.adapters import migrations
from include.adapters.store import Store
from include.adapters.store_tables import metadata
from include.core.errors import PlatformError
from include.core.release.release import Release

OF_0_1_0 = Path(__file__).with_name("store-0.1.0.sql")
"""A store that version 0.1.0 (commit 641a34f) wrote: a model with four windows, an incident, a release and a build."""


def differences(engine: sa.Engine) -> list[object]:
    """How the tables differ from those that the store's code describes."""
    with engine.connect() as connection:
        options = {"include_name": lambda name, kind, _: kind != "table" or name != migrations.VERSION_TABLE}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


@pytest.fixture
def old(tmp_path: Path) -> str:
    """The address of a store of version 0.1.0."""
    with closing(sqlite3.connect(tmp_path / "evergreen.db")) as database:
        database.executescript(OF_0_1_0.read_text(encoding="utf-8"))
    return f"sqlite:///{tmp_path}/evergreen.db"


def test_the_migrations_end_at_the_schema_that_the_code_needs() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.SCHEMA]


def test_a_new_store_has_the_tables_that_the_code_describes(store_url: str) -> None:
    assert differences(Store(store_url).engine) == []


def test_a_store_of_the_last_release_is_upgraded_with_everything_in_it(old: str) -> None:
    store = Store(old)
    assert differences(store.engine) == []
    assert [row.window for row in store.health("late")] == ["2013-03", "2013-04", "2013-05", "2013-06"]
    assert store.health("late")[-1].quality["roc_auc"].value == pytest.approx(0.6127, abs=1e-4)
    assert [incident.key for incident in store.incidents("late")] == ["late-2013-05"]
    release = store.release("late", "production")
    assert (release.champion, dict(release.weights)) == ("1", {"1": 100})
    assert store.newest_passed_build("late").commit == "0123456789abcdef"
    after = store.swap_release(release, release.promote("2", "after the upgrade"))
    assert Store(old).release("late", "production") == after


def test_upgrading_again_changes_nothing(old: str) -> None:
    Store(old).create_tables()
    before = Store(old).health("late")
    Store(old).create_tables()
    assert Store(old).health("late") == before


def test_tables_of_a_newer_release_are_left_alone(old: str) -> None:
    store = Store(old)
    with store.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(PlatformError, match=r"needs schema 0005.*9999.*newer release"):
        Store(old).builds("late")


@pytest.mark.parametrize("address", ["new", "old"])
def test_several_processes_may_begin_at_once(store_url: str, old: str, address: str) -> None:
    url = old if address == "old" else store_url
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: Store(url).release("fares", "test"), range(16)))
    assert found == [Release("fares", "test")] * 16
