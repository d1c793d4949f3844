"""PostgreSQL and Redis, which the platform ``celery`` uses and does not start: whether it can use them."""

from __future__ import annotations

import contextlib
from urllib.parse import SplitResult, urlsplit

from include.core.errors import PlatformError
from include.settings import Settings

CONNECT_SECONDS = 5
OLDEST_POSTGRESQL = 13
SCHEMAS = ("mlflow", "evergreen")
"""Where MLflow's and Evergreen's tables are: MLflow and Airflow both have a table ``alembic_version``."""
DATABASE_URL, BROKER_URL = "EVERGREEN_DATABASE_URL", "EVERGREEN_BROKER_URL"
EXAMPLES = {
    DATABASE_URL: "postgresql://user:password@host:5432/database",
    BROKER_URL: "redis://:password@host:6379/0",
}
SCHEMES = {DATABASE_URL: ("postgresql", "postgresql+psycopg2"), BROKER_URL: ("redis", "rediss")}


def server_problems(settings: Settings) -> dict[str, str | None]:
    """``database`` and ``broker`` → the problem, or None when it responds; empty on the platform ``local``."""
    if settings.platform == "local":
        return {}
    return {"database": _database_problem(settings), "broker": _broker_problem(settings)}


def server_addresses(settings: Settings) -> dict[str, str]:
    """``database`` and ``broker`` → where they are, without user and password."""
    if settings.platform == "local":
        return {}
    urls = {"database": urlsplit(settings.database_url), "broker": urlsplit(settings.broker_url)}
    return {name: f"{url.scheme.partition('+')[0]}://{url.netloc.rpartition('@')[2]}" for name, url in urls.items()}


def require_servers(settings: Settings) -> None:
    """PlatformError with the settings and remedies, unless addresses are given and both servers can be used."""
    if settings.platform == "local":
        return
    given = {DATABASE_URL: settings.database_url, BROKER_URL: settings.broker_url}
    if wrong := [problem for name, value in given.items() if (problem := _address_problem(name, value))]:
        raise PlatformError("\n".join(wrong))
    names = dict(zip(("database", "broker"), given, strict=True))
    unusable = [
        f"the {part} of {names[part]} can't be used: {problem}. Start it, or correct {names[part]} in .env."
        for part, problem in server_problems(settings).items()
        if problem
    ]
    if unusable:
        raise PlatformError("\n".join(unusable))


def make_schemas(settings: Settings) -> None:
    """Create the schemas of MLflow's and Evergreen's tables, unless they have databases of their own."""
    if settings.platform == "local":
        return
    import psycopg2
    from psycopg2.sql import SQL, Identifier

    try:
        with (
            contextlib.closing(psycopg2.connect(_libpq(settings))) as connection,
            connection,
            connection.cursor() as one,
        ):
            for schema in SCHEMAS:
                one.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
    except psycopg2.Error as error:
        raise PlatformError(
            f"the schemas {' and '.join(SCHEMAS)} can't be created in the database of {DATABASE_URL}: "
            f"{str(error).strip()}. Let its user create schemas (GRANT CREATE ON DATABASE), or create them by hand."
        ) from error


def _address_problem(name: str, value: str) -> str:
    schemes, example = SCHEMES[name], f"for example {name}={EXAMPLES[name]}"
    if not value:
        return f"EVERGREEN_PLATFORM=celery needs {name}. Set it in .env, {example}"
    with contextlib.suppress(ValueError):  # of a port that is none; the message must not show the password
        url: SplitResult = urlsplit(value)
        if url.scheme not in schemes:
            return f"{name} begins with '{url.scheme}:', not with {' or '.join(schemes)}. Correct it in .env, {example}"
        if url.hostname and (name == BROKER_URL or url.path.strip("/")) and url.port != 0:
            return ""
    missing = "a host, a port that is a number, and a database" if name == DATABASE_URL else "a host, and a port"
    return f"{name} must have {missing}. Correct it in .env, {example}"


def _libpq(settings: Settings) -> str:
    return settings.airflow_database.replace("postgresql+psycopg2://", "postgresql://", 1)


def _database_problem(settings: Settings) -> str | None:
    import psycopg2

    try:
        with contextlib.closing(psycopg2.connect(_libpq(settings), connect_timeout=CONNECT_SECONDS)) as connection:
            version = connection.server_version // 10_000
    except psycopg2.Error as error:
        return " ".join(str(error).split()) or type(error).__name__
    return (
        None if version >= OLDEST_POSTGRESQL else f"it is PostgreSQL {version}, and Airflow needs {OLDEST_POSTGRESQL}"
    )


def _broker_problem(settings: Settings) -> str | None:
    import redis

    try:
        with contextlib.closing(
            redis.Redis.from_url(
                settings.broker_url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS
            )
        ) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return None
