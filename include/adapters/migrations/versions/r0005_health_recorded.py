"""An index that finds out which models' health has changed without reading it."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the index."""
    op.create_index("evergreen_health_recorded", "evergreen_health", ["model", "recorded"])
