"""A table for what people were asked and answered about incidents, and an index that finds approvals of releases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table and the index."""
    op.create_table(
        "evergreen_incident_events",
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("incident", sa.String(128), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("recorded", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("author", sa.String(255), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("run", sa.String(255), nullable=False),
    )
    op.create_index("evergreen_rollout_checks_stage", "evergreen_rollout_checks", ["stage"])
