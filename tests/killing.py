"""Killing a task of a really running Airflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import psutil


def task_process(tasks: Iterable[Mapping[str, Any]], task_id: str) -> psutil.Process | None:
    """The process that runs the task, one of these task instances of Airflow's API; None when there is none now."""
    for task in tasks:
        if task["task_id"] == task_id and task["state"] == "running":
            title = ["airflow", "worker", "--", task["id"]]
            for process in psutil.process_iter():
                try:
                    if " ".join(process.cmdline()).split() == title:
                        return process
                except psutil.Error:
                    continue
    return None
