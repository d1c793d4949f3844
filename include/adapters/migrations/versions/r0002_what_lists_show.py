"""Small tables for lists and pages: summaries of windows, candidates, and the checks of rollouts.

Windows that were measured before are summarised from their health; candidates and checks of before are unknown.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

log = logging.getLogger(__name__)
MODEL = ("model", sa.String(64))


def upgrade() -> None:
    """Create the tables, and fill in the summaries."""
    summaries = op.create_table(
        "evergreen_windows",
        sa.Column(*MODEL, primary_key=True),
        sa.Column("window", sa.String(16), primary_key=True),
        sa.Column("summary", sa.JSON(), nullable=False),
    )
    op.create_table(
        "evergreen_candidates",
        sa.Column(*MODEL, primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True),
        sa.Column("recorded", sa.Float(), nullable=False),
        sa.Column("candidate", sa.JSON(), nullable=False),
    )
    op.create_table(
        "evergreen_rollout_checks",
        sa.Column(*MODEL, primary_key=True),
        sa.Column("run", sa.String(255), primary_key=True),
        sa.Column("stage", sa.String(32), primary_key=True),
        sa.Column("recorded", sa.Float(), nullable=False),
        sa.Column("rollout_check", sa.JSON(), nullable=False),
    )
    _summarise(summaries)


def _summarise(summaries: sa.Table) -> None:
    from include.core.health.record import HealthRow
    from include.core.health.summary import WindowSummary

    connection = op.get_bind()
    health = sa.table("evergreen_health", *map(sa.column, ("model", "window")), sa.column("health", sa.JSON()))
    for row in connection.execute(sa.select(health)).all():
        try:
            summary = WindowSummary.of(HealthRow.from_dict(row.health)).as_dict()
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # a damaged row stays as it is
            log.warning("%s %s: the window can't be summarised: %s", row.model, row.window, error)
            continue
        connection.execute(summaries.insert().values(model=row.model, window=row.window, summary=summary))
