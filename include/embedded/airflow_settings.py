"""Applies ``airflow_settings.yaml`` (connections, pools, variables) as the Astro CLI would.

``python -m include.embedded.airflow_settings``, in Airflow's environment: migrates Airflow's database first, so
that one process does both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from include.core.errors import PlatformError
from include.core.json_types import JsonObject
from include.settings import PROJECT

FILE = PROJECT / "airflow_settings.yaml"
FIELDS = {
    "conn_type": "conn_type",
    "conn_host": "host",
    "conn_schema": "schema",
    "conn_login": "login",
    "conn_password": "password",
    "conn_port": "port",
}


def read_settings(path: Path = FILE) -> dict[str, list[JsonObject]]:
    """The file's connections, pools and variables; entries without a name are ignored, as Astro does."""
    try:
        content = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("airflow") or {}
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise PlatformError(f"{path.name} can't be read: {error}. Correct it, or restore it from Git.") from error
    names = {"connections": "conn_id", "pools": "pool_name", "variables": "variable_name"}
    return {
        kind: [entry for entry in content.get(kind) or [] if entry and entry.get(key)] for kind, key in names.items()
    }


def connection_values(entry: JsonObject) -> dict[str, Any]:
    """Arguments of Airflow's Connection for one entry of the file."""
    if entry.get("conn_uri"):
        return {"conn_id": entry["conn_id"], "uri": entry["conn_uri"]}
    extra = entry.get("conn_extra")
    if extra is not None and not isinstance(extra, str):
        extra = json.dumps(extra)
    values = {theirs: entry[ours] for ours, theirs in FIELDS.items() if entry.get(ours) not in (None, "")}
    return {"conn_id": entry["conn_id"], **values, **({"extra": extra} if extra else {})}


def apply(path: Path = FILE) -> None:
    """Write the file's entries to Airflow's database, replacing entries of the same name."""
    from airflow.models import Connection, Pool, Variable
    from airflow.utils.session import create_session

    content = read_settings(path)
    with create_session() as session:
        for entry in content["connections"]:
            session.query(Connection).filter(Connection.conn_id == entry["conn_id"]).delete()
            session.add(Connection(**connection_values(entry)))
        for entry in content["pools"]:
            Pool.create_or_update_pool(
                entry["pool_name"],
                slots=int(entry.get("pool_slot") or 1),
                description=entry.get("pool_description") or "",
                include_deferred=False,
                session=session,
            )
        for entry in content["variables"]:
            Variable.set(entry["variable_name"], str(entry.get("variable_value") or ""), session=session)


def main() -> None:
    """Migrate Airflow's database, then apply airflow_settings.yaml to it."""
    from airflow.utils.db import initdb

    initdb()
    apply()


if __name__ == "__main__":
    main()
