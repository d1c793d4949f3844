"""A table for what production servers are asked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "evergreen_traffic",
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("counted", sa.Float(), nullable=False),
        sa.Column("requests", sa.Float(), nullable=False),
        sa.Column("rows", sa.Float(), nullable=False),
    )
