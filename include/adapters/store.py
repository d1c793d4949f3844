"""Evergreen's own tables: builds, releases, health, incidents, and positions in the prediction log.

SQLite by default, PostgreSQL if set in ``EVERGREEN_STORE_URL``. Every write is one transaction.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from include.adapters import migrations
from include.adapters.store_incidents import StoreIncidents
from include.adapters.store_lists import StoreLists
from include.adapters.store_tables import (
    builds,
    candidates,
    health,
    log_positions,
    release_history,
    releases,
    rollout_checks,
    traffic,
    windows,
)
from include.adapters.store_values import plain
from include.core.build import Build
from include.core.candidate import CandidateRecord
from include.core.errors import DeploymentConflictError, EvergreenError, UnreachableError
from include.core.health.record import HealthRow
from include.core.health.summary import WindowSummary
from include.core.json_types import JsonObject
from include.core.release.checks import RolloutCheck
from include.core.release.release import Environment, RecordedRelease, Release
from include.core.release.traffic import Traffic
from include.core.windows import Grain, key_length

log = logging.getLogger(__name__)


class Store(StoreLists, StoreIncidents):
    """The operations on the tables that the stages need. Connects, and creates or upgrades the tables, on first use."""

    def __init__(self, url: str):
        self.url = url

    @cached_property
    def engine(self) -> sa.Engine:
        """SQLAlchemy's engine, with all tables as this release needs them."""
        if self.url.startswith("sqlite"):
            engine = sa.create_engine(self.url, connect_args={"timeout": 30})
            sa.event.listen(engine, "connect", _prepare_sqlite)
        else:
            # A connection that a restart of the server has closed is replaced before it is used.
            engine = sa.create_engine(self.url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
            sa.event.listen(engine, "handle_error", _name_outage)
        migrations.upgrade(engine)
        return engine

    def create_tables(self) -> None:
        """Create or upgrade the tables, before several processes use the store."""
        migrations.upgrade(self.engine)

    # builds

    def record_build(self, build: Build) -> None:
        """Store the build; recording the same build again replaces it."""
        with self.engine.begin() as connection:
            where = (builds.c.model == build.model) & (builds.c.build_id == build.build_id)
            connection.execute(builds.delete().where(where))
            connection.execute(
                builds.insert().values(
                    model=build.model, build_id=build.build_id, recorded=time.time(), build=plain(build.as_dict())
                )
            )

    def build(self, model: str, build_id: str) -> Build:
        """One build; EvergreenError if no build has this id."""
        with self.engine.connect() as connection:
            where = (builds.c.model == model) & (builds.c.build_id == build_id)
            row = connection.execute(sa.select(builds.c.build).where(where)).scalar()
        if row is None:
            raise EvergreenError(f"{model}: there is no build '{build_id}'. Run {model}.ci for its commit.")
        return Build(**row)

    def builds(self, model: str) -> list[Build]:
        """All builds, newest first."""
        query = sa.select(builds.c.build).where(builds.c.model == model).order_by(builds.c.recorded.desc())
        with self.engine.connect() as connection:
            return [Build(**row) for row in connection.execute(query).scalars()]

    def newest_passed_build(self, model: str) -> Build:
        """The newest passed build; EvergreenError if none has passed."""
        for build in self.builds(model):
            if build.status == "passed":
                return build
        raise EvergreenError(f"{model}: no build has passed yet. Run {model}.ci, or find out why its runs failed.")

    # releases

    def release(self, model: str, environment: Environment) -> Release:
        """Desired state; revision 0 if nothing was ever deployed."""
        key = {"model": model, "environment": environment}
        with self.engine.connect() as connection:
            revision = connection.execute(sa.select(releases.c.revision).filter_by(**key)).scalar()
        if revision is None:
            return Release(model, environment)
        # Both rows were written in one transaction; if one is damaged, the other one still says what should serve.
        history = sa.select(release_history.c.release).filter_by(**key, revision=revision)
        for query in (sa.select(releases.c.release).filter_by(**key), history):
            try:
                with self.engine.connect() as connection:
                    release = Release.from_dict(connection.execute(query).scalar_one())
                if (release.model, release.environment) == (model, environment) and release.revision >= revision:
                    return release  # of a later revision, if it was written in this moment
                problem = "it is not the release of its revision"
            except (sa.exc.NoResultFound, ValueError, TypeError, KeyError, AttributeError) as error:
                problem = str(error)
            log.error("%s: the %s release can't be read from the store: %s", model, environment, problem)
        raise EvergreenError(
            f"{model}: the {environment} release can't be read from the store ({problem}). Restore the store "
            "(evergreen.db in EVERGREEN_HOME) from a backup."
        )

    def released(self) -> list[tuple[str, Environment]]:
        """Every model and environment that has a release."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(releases.c.model, releases.c.environment)).all()
        return [(row.model, row.environment) for row in rows]

    def release_history(self, model: str, environment: Environment = "production") -> list[RecordedRelease]:
        """All revisions, oldest first."""
        table = release_history
        query = (
            sa.select(table.c.recorded, table.c.release)
            .where((table.c.model == model) & (table.c.environment == environment))
            .order_by(table.c.revision)
        )
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
        return [RecordedRelease(Release.from_dict(row.release), row.recorded) for row in rows]

    def swap_release(self, before: Release, after: Release) -> Release:
        """Write ``after`` if the row is still at ``before.revision``, else raise DeploymentConflictError."""
        values = {"revision": after.revision, "release": plain(after.as_dict())}
        where = (
            (releases.c.model == before.model)
            & (releases.c.environment == before.environment)
            & (releases.c.revision == before.revision)
        )
        key = {"model": after.model, "environment": after.environment}
        try:
            with self.engine.begin() as connection:
                if before.revision == 0:
                    connection.execute(releases.insert().values(**key, **values))
                elif connection.execute(releases.update().where(where).values(**values)).rowcount != 1:
                    raise DeploymentConflictError(self._conflict(before))
                connection.execute(release_history.insert().values(**key, recorded=time.time(), **values))
        except sa.exc.IntegrityError:
            raise DeploymentConflictError(self._conflict(before)) from None
        return after

    def _conflict(self, before: Release) -> str:
        now = self.release(before.model, before.environment)
        owner = now.rollout.run if now.rollout else "a finished change"
        return (
            f"{before.model}: the {before.environment} release changed from revision {before.revision} to "
            f"{now.revision} in the meantime ({owner}: {now.note}). Wait for it to end, then deploy again."
        )

    # health

    def record_health(self, model: str, row: HealthRow) -> None:
        """Store the window's health; measuring a window again replaces it."""
        where = (health.c.model == model) & (health.c.window == row.window)
        with self.engine.begin() as connection:
            connection.execute(health.delete().where(where))
            connection.execute(
                health.insert().values(
                    model=model, window=row.window, recorded=time.time(), health=plain(row.as_dict())
                )
            )
            summary = plain(WindowSummary.of(row).as_dict())
            connection.execute(windows.delete().where((windows.c.model == model) & (windows.c.window == row.window)))
            connection.execute(windows.insert().values(model=model, window=row.window, summary=summary))

    def health(self, model: str, grain: Grain | None = None) -> list[HealthRow]:
        """The health of all windows (of this grain), oldest window first."""
        query = _health_of(model, grain)
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(health.c.window)).all()
        return [HealthRow.from_dict(row.health, row.recorded) for row in rows]

    def newest_health(
        self, model: str, count: int, before: str | None = None, grain: Grain | None = None
    ) -> list[HealthRow]:
        """The health of the newest ``count`` windows (before the window ``before``; of this grain), oldest first."""
        query = _health_of(model, grain)
        if before is not None:
            query = query.where(health.c.window < before)
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(health.c.window.desc()).limit(count)).all()
        return [HealthRow.from_dict(row.health, row.recorded) for row in reversed(rows)]

    # candidates and checks

    def record_candidate(self, model: str, candidate: CandidateRecord) -> None:
        """Store what promotion said of a version; recording it again replaces it."""
        self._replace(candidates, {"model": model, "version": int(candidate.version)}, candidate=candidate.as_dict())

    def candidates(self, model: str) -> list[CandidateRecord]:
        """All recorded candidates, newest first."""
        query = sa.select(candidates).where(candidates.c.model == model).order_by(candidates.c.version.desc())
        with self.engine.connect() as connection:
            return [CandidateRecord.from_dict(row.candidate, row.recorded) for row in connection.execute(query)]

    def record_check(self, model: str, check: RolloutCheck) -> None:
        """Store the newest verdict of a stage of a rollout."""
        self._replace(
            rollout_checks, {"model": model, "run": check.run, "stage": check.stage}, rollout_check=check.as_dict()
        )

    def rollout_checks(self, model: str, run: str | None = None) -> list[RolloutCheck]:
        """The checks of a run's rollout, or of all rollouts of the model, in the order of their newest verdicts."""
        query = sa.select(rollout_checks).where(rollout_checks.c.model == model).order_by(rollout_checks.c.recorded)
        query = query if run is None else query.where(rollout_checks.c.run == run)
        with self.engine.connect() as connection:
            return [RolloutCheck.from_dict(row.rollout_check, row.recorded) for row in connection.execute(query)]

    def _replace(self, table: sa.Table, key: JsonObject, **values: JsonObject) -> None:
        values = {name: plain(value) for name, value in values.items()}
        with self.engine.begin() as connection:
            connection.execute(table.delete().filter_by(**key))
            connection.execute(table.insert().values(**key, **values, recorded=time.time()))

    def record_traffic(self, model: str, counted: Traffic) -> None:
        """Replace what is known of the traffic of the model's production servers."""
        with self.engine.begin() as connection:
            connection.execute(traffic.delete().where(traffic.c.model == model))
            connection.execute(traffic.insert().values(model=model, **asdict(counted)))

    # prediction log

    def log_position(self, model: str, segment: str) -> int:
        """How many bytes of the segment have been gathered."""
        where = (log_positions.c.model == model) & (log_positions.c.segment == segment)
        with self.engine.connect() as connection:
            return connection.execute(sa.select(log_positions.c.position).where(where)).scalar() or 0

    def set_log_position(self, model: str, segment: str, position: int) -> None:
        """Record that the segment has been gathered up to this byte."""
        with self.engine.begin() as connection:
            where = (log_positions.c.model == model) & (log_positions.c.segment == segment)
            connection.execute(log_positions.delete().where(where))
            connection.execute(log_positions.insert().values(model=model, segment=segment, position=position))

    def log_positions(self, model: str) -> dict[str, int]:
        """Segment → how many of its bytes have been gathered, for all that were gathered from."""
        query = sa.select(log_positions.c.segment, log_positions.c.position).where(log_positions.c.model == model)
        with self.engine.connect() as connection:
            return {row.segment: row.position for row in connection.execute(query)}


def _health_of(model: str, grain: Grain | None) -> sa.Select[Any]:
    """The health of a model. After monitoring.window has changed, there are windows of several grains."""
    query = sa.select(health.c.recorded, health.c.health).where(health.c.model == model)
    return query if grain is None else query.where(sa.func.length(health.c.window) == key_length(grain))


def _name_outage(context: sa.engine.ExceptionContext) -> None:
    """Replace SQLAlchemy's error if the server can't be reached, or has closed the connection."""
    if context.is_pre_ping:
        return  # SQLAlchemy connects again
    connecting = context.connection is None and isinstance(context.sqlalchemy_exception, sa.exc.OperationalError)
    if connecting or context.is_disconnect:
        problem = " ".join(str(context.original_exception).split())
        raise UnreachableError(
            f"the database of Evergreen's tables does not respond: {problem}. "
            "Start it, or correct EVERGREEN_STORE_URL or EVERGREEN_DATABASE_URL."
        ) from context.original_exception


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
