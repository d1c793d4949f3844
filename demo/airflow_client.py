"""A client for Airflow's REST API, with what the demo needs: find, trigger and await runs, read results and logs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import requests

POLL_SECONDS = 0.2
FINISHED = ("success", "failed")
FAILED = ("failed", "upstream_failed")
LOG_LINES = 40

Run = dict[str, Any]
T = TypeVar("T")


class AirflowError(Exception):
    """Airflow did not respond, refused a request, or a run did not appear in time."""


class RunFailedError(AirflowError):
    """A Dag run failed; the message names the run and its failed tasks with their log tails."""


class AirflowClient:
    """A client for the Airflow at ``url``, logged in as a user."""

    def __init__(self, url: str, user: str, password: str):
        self.url = url.rstrip("/")
        self._login = {"username": user, "password": password}
        self._session = requests.Session()

    def runs(self, dag: str, limit: int = 100) -> list[Run]:
        """The Dag's runs, newest first; empty if Airflow has not parsed the Dag yet."""
        answer = self._ask(
            "GET", f"dags/{quote(dag)}/dagRuns?order_by=-run_after&limit={limit}", missing={"dag_runs": []}
        )
        return list(answer["dag_runs"])

    def run(self, dag: str, run_id: str) -> Run | None:
        """One run, or None if no run has this id."""
        run: Run | None = self._ask("GET", _run_path(dag, run_id), missing=None)
        return run

    def trigger(self, dag: str, run_id: str, conf: dict[str, Any], note: str = "") -> Run:
        """Start a run with this id, or return the existing run with this id."""
        run = self.run(dag, run_id)
        if run is None:
            body = {"dag_run_id": run_id, "logical_date": None, "conf": conf, "note": note or None}
            run = self._ask("POST", f"dags/{quote(dag)}/dagRuns", json=body)
        return run

    def await_caused(self, dag: str, accept: Callable[[dict[str, Any]], bool], timeout: float, what: str) -> Run:
        """Wait until the Dag has a run that was started by an asset event for which ``accept`` is true."""
        other: set[str] = set()

        def find() -> Run | None:
            for run in self.runs(dag, limit=20):
                run_id = run["dag_run_id"]
                if run_id in other or not run["start_date"]:
                    continue  # Airflow 3.3.2 returns 500 for the events of a run that has not started
                events = self._ask("GET", f"{_run_path(dag, run_id)}/upstreamAssetEvents")["asset_events"]
                if any(accept(event) for event in events):
                    return run
                other.add(run_id)
            return None

        return self.await_for(find, timeout, f"a run of {dag} for {what}")

    def await_end(self, dag: str, run_id: str, timeout: float) -> Run:
        """Wait until the run ends; raises RunFailedError when it or any of its tasks failed.

        The run's own state is not enough: a failed task does not fail its run if downstream tasks succeed.
        """

        def find() -> Run | None:
            run = self.run(dag, run_id)
            return run if run and run["state"] in FINISHED else None

        run = self.await_for(find, timeout, f"the end of {dag} {run_id}")
        if run["state"] != "success" or any(task["state"] in FAILED for task in self.tasks(dag, run_id)):
            raise RunFailedError(self.describe_failure(dag, run_id))
        return run

    def await_for(self, find: Callable[[], T | None], timeout: float, what: str) -> T:
        """Call ``find`` until it returns something; raises AirflowError after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            value = find()
            if value is not None:
                return value
            if time.monotonic() > deadline:
                raise AirflowError(f"Waited {timeout:.0f} s for {what}, which did not appear ({self.url}).")
            time.sleep(POLL_SECONDS)

    def tasks(self, dag: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        return list(self._ask("GET", f"{_run_path(dag, run_id)}/taskInstances?limit=100")["task_instances"])

    def result(self, dag: str, run_id: str, task: str, key: str = "return_value") -> Any:
        """What a task returned, or None."""
        path = f"{_run_path(dag, run_id)}/taskInstances/{quote(task)}/xcomEntries/{quote(key)}?deserialize=false"
        answer = self._ask("GET", path, missing=None)
        return None if answer is None else _plain(answer["value"])

    def log_tail(self, dag: str, run_id: str, task: str, attempt: int) -> str:
        """The tail of a task's log."""
        path = f"{_run_path(dag, run_id)}/taskInstances/{quote(task)}/logs/{max(attempt, 1)}?full_content=true"
        answer = self._ask("GET", path, missing={"content": []})
        lines = [_log_line(entry) for entry in answer.get("content") or []]
        return "\n".join([line for line in lines if line][-LOG_LINES:])

    def describe_failure(self, dag: str, run_id: str) -> str:
        """A message that names the run's failed tasks, with the log tail of each."""
        paragraphs = [f"{dag}, run {run_id}, failed or has failed tasks."]
        for task in self.tasks(dag, run_id):
            if task["state"] == "failed":
                tail = self.log_tail(dag, run_id, task["task_id"], task.get("try_number") or 1)
                paragraphs.append(f"Task {task['task_id']} (attempt {task.get('try_number')}), log tail:\n{tail}")
        return "\n\n".join(paragraphs)

    def _ask(self, method: str, path: str, missing: Any = ..., **arguments: Any) -> Any:
        if "Authorization" not in self._session.headers:
            self._log_in()
        response = self._send(method, f"/api/v2/{path}", **arguments)
        if response.status_code == 401:
            self._log_in()
            response = self._send(method, f"/api/v2/{path}", **arguments)
        if response.status_code == 404 and missing is not ...:
            return missing
        if not response.ok:
            raise AirflowError(f"Airflow returned {response.status_code} for {method} {path}: {response.text[:500]}")
        return response.json()

    def _log_in(self) -> None:
        response = self._send("POST", "/auth/token", json=self._login)
        if not response.ok:
            raise AirflowError(
                f"Airflow at {self.url} refused the login of {self._login['username']}: {response.text[:300]}"
            )
        self._session.headers["Authorization"] = f"Bearer {response.json()['access_token']}"

    def _send(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request; GET requests are retried when the connection breaks, since they change nothing."""
        attempts = 3 if method == "GET" else 1
        for attempt in range(attempts):
            try:
                return self._session.request(method, self.url + path, timeout=30, **arguments)
            except requests.RequestException as error:
                if attempt + 1 == attempts:
                    raise AirflowError(
                        f"Airflow at {self.url} does not respond: {error}. Run 'make status'."
                    ) from error
                time.sleep(POLL_SECONDS)
        raise AssertionError("unreachable")


def _run_path(dag: str, run_id: str) -> str:
    return f"dags/{quote(dag)}/dagRuns/{quote(run_id, safe='')}"


def _plain(value: Any) -> Any:
    """The API returns XCom values as JSON, or as text that contains JSON."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _log_line(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    text = str(entry.get("event", ""))
    if text.startswith("::"):  # group markers for the web UI
        return ""
    for problem in entry.get("error_detail") or []:
        text += f"\n{problem.get('exc_type')}: {problem.get('exc_value')}"
    return text
