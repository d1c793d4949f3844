"""The tables of version 0.1.0, which had no schema version: those that are missing are created."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Columns = list[tuple[str, Any]]
MODEL = ("model", sa.String(64))
TABLES: dict[str, tuple[Columns, Columns]] = {
    "evergreen_builds": (
        [MODEL, ("build_id", sa.String(64))],
        [("recorded", sa.Float()), ("build", sa.JSON())],
    ),
    "evergreen_releases": (
        [MODEL, ("environment", sa.String(16))],
        [("revision", sa.Integer()), ("release", sa.JSON())],
    ),
    "evergreen_release_history": (
        [MODEL, ("environment", sa.String(16)), ("revision", sa.Integer())],
        [("recorded", sa.Float()), ("release", sa.JSON())],
    ),
    "evergreen_health": (
        [MODEL, ("window", sa.String(16))],
        [("recorded", sa.Float()), ("health", sa.JSON())],
    ),
    "evergreen_incidents": (
        [MODEL, ("incident", sa.String(128))],
        [("window", sa.String(16)), ("recorded", sa.Float()), ("verdict", sa.JSON())],
    ),
    "evergreen_log_positions": (
        [MODEL, ("segment", sa.String(255))],
        [("position", sa.BigInteger())],
    ),
}
"""Table → the columns of its primary key, and the others, none of which may be null."""


def upgrade() -> None:
    """Create the tables that are missing."""
    existing = set(sa.inspect(op.get_bind()).get_table_names())
    for name, (key, others) in TABLES.items():
        if name not in existing:
            columns = [sa.Column(column, kind, primary_key=True) for column, kind in key]
            op.create_table(name, *columns, *(sa.Column(column, kind, nullable=False) for column, kind in others))
