"""The arrows of the loop: one Airflow asset for each thing that a stage produces and the next stage waits for."""

from __future__ import annotations

from typing import Any, Literal

from airflow.sdk import Asset

Thing = Literal["commit", "data", "build", "candidate", "release", "health"]


def model_asset(model: str, thing: Thing, **more: Any) -> Asset:
    """The asset ``<model>/<thing>``; ``more`` is passed to Asset, for example watchers."""
    return Asset(name=f"{model}/{thing}", uri=f"evergreen://{model}/{thing}", group="evergreen", **more)
