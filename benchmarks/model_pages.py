"""How fast the page of all models is: on the server, and until a browser can be used."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import insert

from include.adapters.store import Store
from include.adapters.store_tables import windows as table
from include.core.build import Build
from include.core.health.summary import WindowSummary
from include.core.release.release import Release
from tests.support.api_server import ApiServer, api_server
from tests.support.health_rows import health_row
from tests.support.running_platform import short_folder
from tests.support.specs import model_yaml

MODELS = 1000
WINDOWS = [f"2013-W{week:02d}" for week in range(1, 53)]
REPEATS = 15


def model_pages() -> Iterator[tuple[str, str]]:
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


def _fill(store: Store, models: list[str]) -> None:
    """A year of windows, a release and a build for each model; summaries in one insert, as they are all alike."""
    summary = WindowSummary.of(health_row("2013-W01", 0.8))
    rows = [
        {"model": model, "window": window, "summary": replace(summary, window=window).as_dict()}
        for model in models
        for window in WINDOWS
    ]
    with store.engine.begin() as connection:
        connection.execute(insert(table), rows)
    for model in models:
        store.record_build(Build(model, "b", "0123456789abcdef", "e", "passed"))
        nothing = Release(model, "production")
        store.swap_release(nothing, nothing.promote("1", "1 promoted by run"))


def _milliseconds(server: ApiServer, path: str, repeats: int) -> str:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        answer = server.ask("admin", "GET", path)
        seconds.append(time.perf_counter() - began)
        answer.raise_for_status()
    return f"{1000 * statistics.median(seconds):.0f} ms"
