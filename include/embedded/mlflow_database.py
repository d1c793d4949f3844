"""``python -m include.embedded.mlflow_database``: creates or migrates MLflow's tables.

As ``mlflow db upgrade <url>`` does, but the URL, which may contain a password, is not on a command line.
"""

from __future__ import annotations

from include.settings import Settings


def upgrade(url: str) -> None:
    """Bring MLflow's tables in this database to the installed MLflow's revision."""
    from mlflow.db import upgrade as command

    assert command.callback is not None
    command.callback(url)


if __name__ == "__main__":
    upgrade(Settings.from_environment().mlflow)
