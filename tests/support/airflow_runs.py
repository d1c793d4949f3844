"""Runs of a Dag: a whole one in this process, and the process of a task of a running Airflow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any
from unittest import mock

import psutil


def run_here(dag: Any, conf: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Run the Dag by hand with this configuration; the run's state, and its tasks' states by name."""
    with mock.patch.dict(os.environ):  # Airflow leaves AIRFLOW_CTX_* behind
        run = dag.test(run_conf=conf)
    return str(run.state), {task.task_id: str(task.state) for task in run.get_task_instances()}


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
