"""How Evergreen's tables change from release to release: one alembic migration per change, in ``versions``.

The store upgrades itself on first use. Add a migration for each change of its tables, and set SCHEMA to its revision.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from include.core.errors import PlatformError

SCHEMA = "0005"
"""The revision that this release of Evergreen needs."""
VERSION_TABLE = "evergreen_schema"
_one_at_a_time = threading.Lock()


def upgrade(engine: sa.Engine) -> None:
    """Bring the tables to SCHEMA; does nothing if they are there already. One process at a time does it.

    Raises PlatformError for tables of a newer release.
    """
    if _revision(engine) == SCHEMA:
        return
    with _one_at_a_time, engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7270011)")
        _run(connection)


def _run(connection: sa.Connection) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)

    def steps(revision: Any, _context: Any) -> Any:
        return scripts._upgrade_revs(SCHEMA, revision)

    try:
        with EnvironmentContext(config, scripts, fn=steps, destination_rev=SCHEMA) as environment:
            environment.configure(connection=connection, version_table=VERSION_TABLE)
            environment.run_migrations()
    except CommandError as error:
        raise PlatformError(
            f"the tables of this installation can't be used by this release of Evergreen, which needs schema {SCHEMA}: "
            f"{error}. Run the newer release that made them, or restore a backup."
        ) from error


def _revision(engine: sa.Engine) -> str | None:
    """The tables' revision; None if they have none, as before alembic or in a new database."""
    if not sa.inspect(engine).has_table(VERSION_TABLE):
        return None
    with engine.connect() as connection:
        revision: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
        return revision
