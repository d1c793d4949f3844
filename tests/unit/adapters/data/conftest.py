"""What the tests of data share: a lake to land flights in."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from include.settings import Settings
from tests.unit.adapters.data.flights_data import flights_of


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose lake is in tmp_path."""
    return Settings(home=tmp_path)


@pytest.fixture
def land(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A lake in tmp_path; returns a function that lands one window of training data."""
    monkeypatch.setenv("AIRFLOW_CONN_EVERGREEN_LAKE", '{"conn_type": "fs", "extra": {"path": "lake"}}')

    def write(window: str, frame: pd.DataFrame | None = None, **changes: Any) -> None:
        path = tmp_path / "lake" / "flights" / "training" / f"{window}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = flights_of(window) if frame is None else frame
        frame.assign(**changes).to_parquet(path, index=False)

    return write
