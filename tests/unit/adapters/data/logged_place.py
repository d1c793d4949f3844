"""A store, a log folder and a lake, and the requests that are logged there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from include.adapters.data.gathering import gather
from include.adapters.data.predictions import read_predictions
from include.adapters.store import Store
from include.core.spec import ModelSpec
from include.runtime.prediction_log import LogEntry
from tests.support.specs import columns, spec_values

SPEC = spec_values(features=columns(distance="number", origin="category", night="boolean"))
MODEL = ModelSpec.model_validate(SPEC)


def request(number: int, rows: int = 2, month: int = 5, **changes: Any) -> str:
    line: LogEntry = {
        "request_id": f"r{number}",
        "received": 1000.0 + number,
        "version": "3",
        "release": "production@7",
        "keys": [f"{number}-{n}" for n in range(rows)],
        "event_times": [f"2013-{month:02d}-17T08:00:00Z"] * rows,
        "features": {"distance": [100.5] * rows, "origin": ["EWR", None][:rows], "night": [True, None][:rows]},
        "predictions": [0.25] * rows,
    }
    return json.dumps({**line, **changes}) + "\n"


class Place:
    """A store, a log folder and a lake in a temporary folder."""

    def __init__(self, home: Path) -> None:
        self.url = f"sqlite:///{home / 'store.db'}"
        self.store, self.log, self.lake = Store(self.url), home / "log", home / "lake"
        self.log.mkdir()

    def gather(self) -> Any:
        return gather(MODEL, self.store, self.log, self.lake)

    def keys(self, window: str = "2013-05") -> list[str]:
        return sorted(read_predictions(MODEL, window, self.lake).frame.key)

    def segment(self, name: str, text: str, mode: str = "a") -> Path:
        path = self.log / f"{name}.jsonl"
        with path.open(mode) as file:
            file.write(text)
        return path
