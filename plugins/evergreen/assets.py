"""The arrows of the loop: one Airflow asset for each thing that a stage produces and the next stage waits for."""

from __future__ import annotations

from typing import Any, Literal

from airflow.sdk import Asset

Thing = Literal["commit", "data", "build", "candidate", "release", "health"]


class ModelAsset(Asset):
    """Airflow's ``Asset`` with a cheap hash.

    Airflow hashes a Dag, and with it the assets of its schedule, whenever two tasks are chained, and an asset by
    writing all of it as JSON. That took a sixth of the time to parse Dag files (``python -m benchmarks.parse_time``).
    """

    def __hash__(self) -> int:
        return hash((self.name, self.uri))


def model_asset(model: str, thing: Thing, **more: Any) -> ModelAsset:
    """The asset ``<model>/<thing>``; ``more`` is passed to Asset, for example watchers."""
    return ModelAsset(name=f"{model}/{thing}", uri=f"evergreen://{model}/{thing}", group="evergreen", **more)
