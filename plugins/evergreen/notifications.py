"""Notifies people of failed runs: always in the log, and through a webhook if one is configured."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)

ALERTS_CONNECTION = "evergreen_alerts"


def notify_failure(context: Any) -> None:
    """Failure callback of every Dag: log it, and post it to the connection ``evergreen_alerts`` if it has a host."""
    import requests

    from include.adapters.airflow_connections import find_connection

    run = context.get("dag_run")
    text = f"{context['dag'].dag_id} failed: run {run.run_id if run else '?'} ({context.get('reason', 'task failure')})"
    log.error(text)
    connection = find_connection(ALERTS_CONNECTION)
    if connection is None or not connection.host:
        return
    try:
        requests.post(connection.host, json={"text": text}, timeout=10).raise_for_status()
    except requests.RequestException as error:
        log.error("could not post the alert to %s: %s", ALERTS_CONNECTION, error)
