"""What tasks and callbacks see of a run, for the tests of what people are told."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.sdk import DAG

from evergreen.model_task import ModelTask
from include.core.notification import Notification

BASE = "https://airflow.example.test/base"
MESSAGE = Notification("late.ci failed", "the disk is full", f"{BASE}/dags/late.ci/runs/r")


def connect(monkeypatch: pytest.MonkeyPatch, name: str, connection: dict[str, Any]) -> None:
    """Define one of Airflow's connections."""
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))


@dataclass
class Run:
    """The Dag run, as a task and a callback see it."""

    run_id: str = "manual__2026-11-28T00:00:00+00:00"
    triggering_user_name: str | None = "admin"


@dataclass
class Task:
    """The parts of Airflow's task instance that only exist while a task runs under a supervisor."""

    states: dict[str, str] = field(default_factory=dict)
    xcoms: dict[tuple[str, str], Any] = field(default_factory=dict)
    task_id: str = "task"
    dag_id: str = "late.deployment"
    try_number: int = 1

    def get_task_states(self, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        assert dag_id == self.dag_id
        return {run_ids[0]: self.states}

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
        return self.xcoms.get((task_ids, key))

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[self.task_id, key] = value


class State(dict[str, Any]):
    """Airflow's state of a task, which outlives its tries."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self[key] = value


def context_of(dag_id: str = "late.deployment", tasks: tuple[str, ...] = (), **changes: Any) -> Any:
    """What Airflow hands to a task or a callback."""
    with DAG(dag_id, schedule=None) as dag:
        before: ModelTask | None = None
        for name in tasks:
            task = ModelTask(task_id=name, model="late")
            if before is not None:
                before >> task
            before = task
    ti = Task(dag_id=dag_id)
    return {
        "dag": dag,
        "ti": ti,
        "dag_run": Run(),
        "run_id": Run().run_id,
        "task_state_store": State(),
        **changes,
    }


RUN_URL = f"{BASE}/dags/late.deployment/runs/manual__2026-11-28T00%3A00%3A00%2B00%3A00"
