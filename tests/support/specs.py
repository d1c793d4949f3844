"""Model specs for tests: valid ones, of which each test names only what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from include.core.spec import ModelSpec


def columns(**types: str) -> list[dict[str, str]]:
    """Features by name: ``columns(distance="number", origin="category")``."""
    return [{"name": name, "type": kind} for name, kind in types.items()]


def spec_values(**changes: Any) -> dict[str, Any]:
    """The content of a model.yaml; of a section that is a mapping, ``changes`` may name some fields only.

    The truth's column is the target, and the primary metric is one for the task.
    """
    target = changes.get("target", "late")
    regression = changes.get("task") == "regression"
    values: dict[str, Any] = {
        "schema": 1,
        "name": "late",
        "owner": "tests",
        "description": "Made for tests.",
        "repository": {"url": "repositories/late.git"},
        "task": "binary_classification",
        "target": target,
        "features": columns(distance="number", origin="category"),
        "data": {"source": {"path": "data/{window}.parquet"}, "key": "id", "event_time": "at"},
        "truth": {"source": {"path": "truth/{window}.parquet"}, "key": "id", "column": target},
        "metrics": {"primary": "mae" if regression else "roc_auc"},
        "monitoring": {"window": "month"},
        "degradation": {"drop": 0.05},
    }
    for name, change in changes.items():
        section = values.get(name)
        values[name] = {**section, **change} if isinstance(section, Mapping) else change
    return values


def model_spec(**changes: Any) -> ModelSpec:
    """The spec of such a model.yaml."""
    return ModelSpec.model_validate(spec_values(**changes))


def model_yaml(**changes: Any) -> str:
    """The text of such a model.yaml."""
    return yaml.safe_dump(spec_values(**changes), sort_keys=False)
