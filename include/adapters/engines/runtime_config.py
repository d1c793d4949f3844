"""What the runtime is told of a model, and where a build's files are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from include.core.spec import ModelSpec
from include.settings import Settings


class FeatureBlock(TypedDict):
    """One input column."""

    name: str
    type: str


class ModelBlock(TypedDict):
    """What the runtime needs to know of the spec: ``model`` in each of its JSON files."""

    name: str
    task: str
    target: str
    key: str
    event_time: str
    features: list[FeatureBlock]
    estimator: str
    feature_code: str | None
    parameters: dict[str, object]
    trusted_types: list[str]
    code: str


class ArtifactBlock(TypedDict):
    """A version to load: the folder of its bundle, and the hash that was registered for the artifact in it."""

    artifact: str
    sha256: str


class TrainJob(TypedDict):
    """What ``runtime.train`` does; times are ISO 8601."""

    model: ModelBlock
    data: list[str]
    train_until: str
    holdout_from: str
    holdout_until: str
    out: str
    """Path below the job's own folder."""
    champion: ArtifactBlock | None
    """Predicts the holdout too, where it was trained in the same build."""


class CheckJob(TypedDict):
    """What ``runtime.check`` does."""

    model: ModelBlock
    sample: list[str]
    """Parquet files with real rows; none while there is no data yet."""
    rows: int
    """How many rows are tried at most."""
    out: str


ScoreJob = TypedDict(
    "ScoreJob",
    {
        "model": ModelBlock,
        "artifact": str,
        "sha256": str,
        "data": list[str],
        "from": str | None,
        "until": str | None,
        "out": str,
    },
)
"""What ``runtime.score`` does; without ``from`` and ``until``, for all rows."""


def build_folder(settings: Settings, model: str, build_id: str) -> Path:
    """Where a build's code, runtime and environment are."""
    return settings.builds / model / build_id


def model_block(spec: ModelSpec, code: Path, parameters: Mapping[str, object] | None = None) -> ModelBlock:
    """The block of a spec; ``code`` is the model's folder as the runtime sees it."""
    return {
        "name": spec.name,
        "task": spec.task,
        "target": spec.target,
        "key": spec.data.key,
        "event_time": spec.data.event_time,
        "features": [{"name": feature.name, "type": feature.type} for feature in spec.features],
        "estimator": spec.estimator,
        "feature_code": spec.feature_code,
        "parameters": {**spec.training.parameters, **(parameters or {})},
        "trusted_types": list(spec.trusted_types),
        "code": str(code),
    }
