"""Airflow's connections, looked up in one way for all users: Git, data sources, Docker, notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.core.errors import DataError, EvergreenError, PlatformError

if TYPE_CHECKING:
    from airflow.providers.git.hooks.git import GitHook
    from airflow.sdk import Connection
    from sqlalchemy import Engine


def find_connection(name: str) -> Connection | None:
    """The connection with this name, or None.

    Raises PlatformError, which is retried, if Airflow does not respond; the connection may still exist.
    """
    if not name:
        return None
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    try:
        return BaseHook.get_connection(name)
    except AirflowNotFoundException:
        return None
    except AirflowRuntimeError as error:
        raise PlatformError(f"could not look up Airflow's connection '{name}' ({error}). See 'make status'.") from error


def require_connection(
    name: str,
    *,
    remedy: str = "Add it to airflow_settings.yaml and run 'make up'.",
    error: type[EvergreenError] = PlatformError,
) -> Connection:
    """The connection with this name; raises ``error`` with the remedy if there is none."""
    connection = find_connection(name)
    if connection is None:
        raise error(f"Airflow has no connection '{name}'. {remedy}")
    return connection


def git_hook(name: str, *, remedy: str, error: type[EvergreenError]) -> GitHook:
    """The hook of a connection of type git, which provides its credentials as a Git process's environment."""
    from airflow.providers.git.hooks.git import GitHook

    require_connection(name, remedy=remedy, error=error)
    return GitHook(git_conn_id=name)


def sql_engine(name: str) -> Engine:
    """SQLAlchemy's engine for a connection of a database; DataError if no provider for its type is installed."""
    from airflow.sdk.exceptions import AirflowException

    connection = require_connection(name)
    try:
        engine: Engine = connection.get_hook().get_sqlalchemy_engine()
    except AirflowException as error:
        raise DataError(
            f"connection '{name}' can't be used: {error}. Install the Airflow provider of its type, or correct the "
            "type in airflow_settings.yaml."
        ) from error
    return engine
