"""Airflow's connections, asked for in one way, whoever needs one: Git, data sources, Docker, notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.core.errors import DataError, EvergreenError, PlatformError

if TYPE_CHECKING:
    from airflow.providers.git.hooks.git import GitHook
    from airflow.sdk import Connection
    from sqlalchemy import Engine


def find_connection(name: str) -> Connection | None:
    """The connection of this name; None where there is none.

    Raises PlatformError, which is retried, when Airflow does not answer: that says nothing about the connection.
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
        raise PlatformError(
            f"Airflow could not be asked for its connection '{name}' ({error}). See 'make status'."
        ) from error


def require_connection(
    name: str,
    *,
    remedy: str = "Add it to airflow_settings.yaml and run 'make up'.",
    error: type[EvergreenError] = PlatformError,
) -> Connection:
    """The connection of this name; ``error`` with the remedy where there is none."""
    connection = find_connection(name)
    if connection is None:
        raise error(f"Airflow has no connection '{name}'. {remedy}")
    return connection


def git_hook(name: str, *, remedy: str, error: type[EvergreenError]) -> GitHook:
    """The hook of a connection of type git, which has its credentials as the environment of a Git process."""
    from airflow.providers.git.hooks.git import GitHook

    require_connection(name, remedy=remedy, error=error)
    return GitHook(git_conn_id=name)


def sql_engine(name: str) -> Engine:
    """SQLAlchemy's engine for a connection of a database; DataError when its type has no provider installed."""
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
