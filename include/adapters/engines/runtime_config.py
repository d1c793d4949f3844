"""The runtime's configuration of a model, and the folder of a build."""

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
    """What the runtime needs from the spec: ``model`` in each of its JSON files."""

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
    """A version to load: the folder of its bundle, and the registered hashes of the models in it."""

    artifact: str
    sha256: str
    compiled: str | None
    """Of ``model.onnx``; None if the version has none."""


class TrainJob(TypedDict):
    """The job file of ``runtime.train``; times are ISO 8601."""

    model: ModelBlock
    data: list[str]
    train_until: str
    holdout_from: str
    holdout_until: str
    out: str
    """A path inside the job's own folder."""
    champion: ArtifactBlock | None
    """A version that also predicts the holdout, if it was trained in the same build."""
    compile_tolerance: float | None
    """Largest difference between the estimator and its compiled form; None: do not compile."""


class CheckJob(TypedDict):
    """The job file of ``runtime.check``."""

    model: ModelBlock
    sample: list[str]
    """Parquet files with real rows; empty while there is no data yet."""
    rows: int
    """Maximum number of rows."""
    out: str


ScoreJob = TypedDict(
    "ScoreJob",
    {
        "model": ModelBlock,
        "artifact": str,
        "sha256": str,
        "compiled": str | None,
        "data": list[str],
        "from": str | None,
        "until": str | None,
        "out": str,
    },
)
"""The job file of ``runtime.score``; all rows if ``from`` and ``until`` are None."""


def build_folder(settings: Settings, model: str, build_id: str) -> Path:
    """The folder of a build's code, runtime and environment."""
    return settings.builds / model / build_id


def model_block(spec: ModelSpec, code: Path, parameters: Mapping[str, object] | None = None) -> ModelBlock:
    """The block for a spec; ``code`` is the path of the model's folder as seen by the runtime."""
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
