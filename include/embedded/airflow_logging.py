"""Airflow's logging on one machine, set as ``[logging] logging_config_class``: log files are read, never asked for.

Airflow asks the worker's log server for the log of each running task, beside reading the file. On one machine there is
no such server, as it would listen on all addresses, so each log of a running task began with "Could not read served
logs: … Connection refused", and the api-server's own log had a traceback for each look at it.
"""

from __future__ import annotations

import copy
from typing import Any

from airflow.config_templates.airflow_local_settings import (
    DEFAULT_LOGGING_CONFIG,
    DEFAULT_REMOTE_CONN_ID,
    REMOTE_TASK_LOG,
)
from airflow.utils.log.file_task_handler import FileTaskHandler

__all__ = ["DEFAULT_REMOTE_CONN_ID", "LOGGING_CONFIG", "REMOTE_TASK_LOG", "LocalTaskHandler"]


class LocalTaskHandler(FileTaskHandler):
    """Reads logs of tasks from this machine's files only."""

    def _read_from_logs_server(self, *_: Any) -> tuple[list[str], list[Any]]:
        return [], []


LOGGING_CONFIG: dict[str, Any] = copy.deepcopy(DEFAULT_LOGGING_CONFIG)
LOGGING_CONFIG["handlers"]["task"]["class"] = f"{__name__}.{LocalTaskHandler.__name__}"
