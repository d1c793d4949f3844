"""The tables of the store; each change of them needs a migration (:mod:`include.adapters.migrations`)."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

builds = sa.Table(
    "evergreen_builds",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("build_id", sa.String(64), primary_key=True),
    sa.Column("recorded", sa.Float, nullable=False),
    sa.Column("build", sa.JSON, nullable=False),
)
releases = sa.Table(
    "evergreen_releases",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("environment", sa.String(16), primary_key=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("release", sa.JSON, nullable=False),
)
release_history = sa.Table(
    "evergreen_release_history",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("environment", sa.String(16), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("recorded", sa.Float, nullable=False),
    sa.Column("release", sa.JSON, nullable=False),
)
health = sa.Table(
    "evergreen_health",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("window", sa.String(16), primary_key=True),
    sa.Column("recorded", sa.Float, nullable=False),
    sa.Column("health", sa.JSON, nullable=False),
    sa.Index("evergreen_health_recorded", "model", "recorded"),
)
incidents = sa.Table(
    "evergreen_incidents",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("incident", sa.String(128), primary_key=True),
    sa.Column("window", sa.String(16), nullable=False),
    sa.Column("recorded", sa.Float, nullable=False),
    sa.Column("verdict", sa.JSON, nullable=False),
)
log_positions = sa.Table(
    "evergreen_log_positions",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("segment", sa.String(255), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
)
windows = sa.Table(
    "evergreen_windows",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("window", sa.String(16), primary_key=True),
    sa.Column("summary", sa.JSON, nullable=False),
)
"""What lists show of a window's health: rows of this table are small, so that a thousand models are read at once."""
candidates = sa.Table(
    "evergreen_candidates",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("recorded", sa.Float, nullable=False),
    sa.Column("candidate", sa.JSON, nullable=False),
)
rollout_checks = sa.Table(
    "evergreen_rollout_checks",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("run", sa.String(255), primary_key=True),
    sa.Column("stage", sa.String(32), primary_key=True),
    sa.Column("recorded", sa.Float, nullable=False),
    sa.Column("rollout_check", sa.JSON, nullable=False),
    sa.Index("evergreen_rollout_checks_stage", "stage"),
)
incident_events = sa.Table(
    "evergreen_incident_events",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("incident", sa.String(128), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("recorded", sa.Float, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("author", sa.String(255), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("run", sa.String(255), nullable=False),
)
traffic = sa.Table(
    "evergreen_traffic",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("counted", sa.Float, nullable=False),
    sa.Column("requests", sa.Float, nullable=False),
    sa.Column("rows", sa.Float, nullable=False),
)
"""What production servers were asked lately, a minute."""
