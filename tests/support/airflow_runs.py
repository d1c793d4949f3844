"""Whole runs of a Dag in this process."""

from __future__ import annotations

import os
from typing import Any
from unittest import mock


def run_here(dag: Any, conf: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Run the Dag by hand with this configuration; the run's state, and its tasks' states by name."""
    with mock.patch.dict(os.environ):  # Airflow leaves AIRFLOW_CTX_* behind
        run = dag.test(run_conf=conf)
    return str(run.state), {task.task_id: str(task.state) for task in run.get_task_instances()}
