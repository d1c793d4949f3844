"""PostgreSQL and Redis are checked before anything is started; each message names the setting and the remedy."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import psycopg2
import pytest

from include.core.errors import PlatformError
from include.embedded.outside_servers import make_schemas, require_servers, server_addresses, server_problems
from include.settings import Settings
from tests.support.database_servers import PASSWORD, QUOTED, PostgreSQL, Redis, postgresql, redis_server
from tests.support.ports import free_port

GIVEN = Settings(
    platform="celery", database_url="postgresql://me:secret@127.0.0.1/db", broker_url="redis://:secret@127.0.0.1:1/0"
)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[PostgreSQL, Redis]]:
    with ExitStack() as stack:
        yield stack.enter_context(postgresql()), stack.enter_context(redis_server())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"database_url": ""},
            "needs EVERGREEN_DATABASE_URL. Set it in .env, for example EVERGREEN_DATABASE_URL=postg",
        ),
        ({"broker_url": ""}, "needs EVERGREEN_BROKER_URL. Set it in .env, for example EVERGREEN_BROKER_URL=redis://"),
        (
            {"database_url": "sqlite:////tmp/secret.db"},
            "EVERGREEN_DATABASE_URL begins with 'sqlite:', not with postgres",
        ),
        ({"database_url": "mysql://me:secret@db/x"}, "EVERGREEN_DATABASE_URL begins with 'mysql:'"),
        (
            {"broker_url": "amqp://me:secret@queue//"},
            "EVERGREEN_BROKER_URL begins with 'amqp:', not with redis or redi",
        ),
        ({"database_url": "postgresql://me:secret@db"}, "EVERGREEN_DATABASE_URL must have a host"),
        ({"database_url": "postgresql:///x"}, "EVERGREEN_DATABASE_URL must have a host"),
        ({"database_url": "postgresql://me:se/cret@db/x"}, "EVERGREEN_DATABASE_URL must have a host, a port that is a"),
        ({"broker_url": "redis://queue:secret/0"}, "EVERGREEN_BROKER_URL must have a host, and a port"),
    ],
)
def test_an_address_that_can_not_be_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(PlatformError) as refused:
        require_servers(replace(GIVEN, **changes))  # type: ignore[arg-type]
    assert message in str(refused.value)
    assert "secret" not in str(refused.value).partition("for example")[0]


def test_the_local_platform_needs_none() -> None:
    require_servers(Settings())
    make_schemas(Settings())
    assert server_problems(Settings()) == server_addresses(Settings()) == {}


def test_servers_that_do_not_listen_are_both_named() -> None:
    port = free_port()
    gone = replace(
        GIVEN, database_url=f"postgresql://me:secret@127.0.0.1:{port}/x", broker_url=f"redis://127.0.0.1:{port}"
    )
    with pytest.raises(PlatformError) as refused:
        require_servers(gone)
    first, second = str(refused.value).splitlines()
    assert first.startswith("the database of EVERGREEN_DATABASE_URL can't be used") and "refused" in first
    assert second.startswith("the broker of EVERGREEN_BROKER_URL can't be used") and "refused" in second
    assert all("Start it, or correct EVERGREEN_" in line and "secret" not in line for line in (first, second))


@pytest.mark.needs("database_servers")
def test_servers_that_respond_are_used_and_shown_without_passwords(servers: tuple[PostgreSQL, Redis]) -> None:
    database, broker = servers
    given = replace(GIVEN, database_url=database.new_database(), broker_url=broker.url)
    require_servers(given)
    make_schemas(given)
    make_schemas(given)
    with psycopg2.connect(given.database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT nspname FROM pg_namespace WHERE nspname IN ('mlflow', 'evergreen')")
        assert len(cursor.fetchall()) == 2
    shown = str(server_addresses(given))
    assert str(database.port) in shown and str(broker.port) in shown
    assert PASSWORD not in shown and QUOTED not in shown


@pytest.mark.needs("database_servers")
def test_a_wrong_password_is_named_and_not_shown(servers: tuple[PostgreSQL, Redis]) -> None:
    database, broker = servers
    wrong = replace(
        GIVEN,
        database_url=database.url("postgres").replace(QUOTED, "wr0ng"),
        broker_url=broker.url.replace(QUOTED, "wr0ng"),
    )
    with pytest.raises(PlatformError) as refused:
        require_servers(wrong)
    assert "password authentication failed" in str(refused.value)
    assert "invalid username-password pair" in str(refused.value)
    assert "wr0ng" not in str(refused.value)


@pytest.mark.needs("database_servers")
def test_a_user_who_may_not_create_schemas_is_told_what_to_grant(servers: tuple[PostgreSQL, Redis]) -> None:
    database, _ = servers
    url = database.new_database()
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE ROLE small LOGIN PASSWORD 'small'")
    small = replace(GIVEN, database_url=url.replace(f"evergreen:{QUOTED}", "small:small"))
    with pytest.raises(PlatformError, match="GRANT CREATE ON DATABASE"):
        make_schemas(small)
