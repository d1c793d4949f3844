"""How fast the pages of a thousand models are on the server: ``python -m benchmarks.model_pages``."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import insert

from include.adapters.store import Store
from include.adapters.store_tables import incident_events, incidents, rollout_checks
from include.adapters.store_tables import windows as table
from include.core.approval import APPROVAL
from include.core.build import Build
from include.core.health.summary import WindowSummary
from include.core.json_types import JsonObject
from include.core.release.checks import RolloutCheck
from include.core.release.release import Release
from include.core.verdict import Verdict
from tests.support.api_server import ApiServer, api_server
from tests.support.health_rows import health_row
from tests.support.running_platform import short_folder
from tests.support.specs import model_yaml

MODELS = 1000
WINDOWS = [f"2013-W{week:02d}" for week in range(1, 53)]
REPEATS = 15


def measured() -> Iterator[tuple[str, str]]:
    """Name and figure of each measurement; the baseline is the same server's answer to a request for its version."""
    yaml = {f"model-{number:04d}": model_yaml(name=f"model-{number:04d}") for number in range(MODELS)}
    weekly = {name: text.replace("window: month", "window: week") for name, text in yaml.items()}
    with short_folder() as home, api_server(home, weekly) as server:
        _fill(server.store, list(weekly))
        list_of_all = "/evergreen/ui/models"
        first = _milliseconds(server, list_of_all, 1)
        yield f"models page, {MODELS} models with {len(WINDOWS)} windows, first request (reads all model.yaml)", first
        baseline = _milliseconds(server, "/api/v2/version", REPEATS)
        later = _milliseconds(server, list_of_all, REPEATS)
        yield "models page, later requests", f"{later} (Airflow's /api/v2/version: {baseline})"
        yield "page of one model", _milliseconds(server, f"{list_of_all}/model-0500", REPEATS)
        token = {"Authorization": "Bearer the-token"}
        yield "metrics page, first request", _milliseconds(server, "/evergreen/metrics", 1, token)
        yield "metrics page, later requests", _milliseconds(server, "/evergreen/metrics", 3, token)


def _fill(store: Store, models: list[str]) -> None:
    """A year of windows and of rollouts with approvals, an incident with its events, a release and a build for each
    model; what is alike in one insert.
    """
    summary = WindowSummary.of(health_row("2013-W01", 0.8))
    rows = [
        {"model": model, "window": window, "summary": replace(summary, window=window).as_dict()}
        for model in models
        for window in WINDOWS
    ]
    with store.engine.begin() as connection:
        connection.execute(insert(table), rows)
        connection.execute(insert(rollout_checks), [row for model in models for row in _checks(model)])
        connection.execute(insert(incidents), [_incident(model) for model in models])
        connection.execute(insert(incident_events), [row for model in models for row in _events(model)])
    for model in models:
        store.record_build(Build(model, "b", "0123456789abcdef", "e", "passed"))
        nothing = Release(model, "production")
        store.swap_release(nothing, nothing.promote("1", "1 promoted by run"))


def _checks(model: str) -> list[JsonObject]:
    """Fifty rollouts of three stages, of which the last one waits for approval."""
    stages = ("test environment", APPROVAL, "canary step 1")
    passed = Verdict("pass", "all is well", {"champion": "1", "hours": 24})
    checks = [RolloutCheck(f"run {number}", stage, "1", passed) for number in range(49) for stage in stages]
    checks.append(RolloutCheck("run 49", APPROVAL, "2", replace(passed, answer="hold")))
    return [
        {"model": model, "run": one.run, "stage": one.stage, "recorded": time.time(), "rollout_check": one.as_dict()}
        for one in checks
    ]


def _incident(model: str) -> JsonObject:
    verdict = Verdict("fail", "worse").as_dict()
    return {"model": model, "incident": model, "window": WINDOWS[-1], "recorded": time.time(), "verdict": verdict}


def _events(model: str) -> list[JsonObject]:
    kinds = ("asked", "approved", "acknowledged")
    return [
        {"model": model, "incident": model, "number": number, "recorded": time.time(), "kind": kind}
        | {"author": "ann", "text": "", "run": "run"}
        for number, kind in enumerate(kinds, 1)
    ]


def _milliseconds(server: ApiServer, path: str, repeats: int, headers: dict[str, str] | None = None) -> str:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        answer = server.ask("" if headers else "admin", "GET", path, headers=headers or {})
        seconds.append(time.perf_counter() - began)
        answer.raise_for_status()
    return f"{1000 * statistics.median(seconds):.0f} ms"


def main() -> None:
    """Print each figure as a line of JSON, ``[what, figure]``."""
    for row in measured():
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
