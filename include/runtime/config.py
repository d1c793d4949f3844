"""The JSON files that the platform writes for the runtime: job files and server configurations.

The platform has the same types in ``include/adapters/engines``; since neither imports the other, a test compares them.
"""

from __future__ import annotations

from typing import TypedDict


class Feature(TypedDict):
    """One input column; ``type`` is number, integer, category or boolean."""

    name: str
    type: str


class Model(TypedDict):
    """What the runtime needs from the spec; ``estimator`` and ``feature_code`` are functions in the folder ``code``."""

    name: str
    task: str
    target: str
    key: str
    event_time: str
    features: list[Feature]
    estimator: str
    feature_code: str | None
    parameters: dict[str, object]
    trusted_types: list[str]
    code: str


class Artifact(TypedDict):
    """A version to load: the folder of its bundle, and the registered hashes of the models in it."""

    artifact: str
    sha256: str
    compiled: str | None
    """Of ``model.onnx``, which then predicts instead of the fitted estimator; None if the version has none."""


class CheckJob(TypedDict):
    """Check the contract on ``rows`` rows of the files in ``sample``, or on synthetic ones if there are none."""

    model: Model
    sample: list[str]
    rows: int
    out: str


class TrainJob(TypedDict):
    """Train before ``train_until``; predict from ``holdout_from`` to before ``holdout_until``. Times are ISO 8601."""

    model: Model
    data: list[str]
    train_until: str
    holdout_from: str
    holdout_until: str
    out: str
    champion: Artifact | None
    compile_tolerance: float | None


ScoreJob = TypedDict(
    "ScoreJob",
    {
        "model": Model,
        "artifact": str,
        "sha256": str,
        "compiled": str | None,
        "data": list[str],
        "from": str | None,
        "until": str | None,
        "out": str,
    },
)
"""Predict the rows from ``from`` until before ``until``; None means unbounded."""


class ServerConfig(TypedDict):
    """One model server. Without ``log_dir`` nothing is logged."""

    model: Model
    version: str
    environment: str
    release: str
    build: str
    artifact: str
    sha256: str
    compiled: str | None
    host: str
    port: int
    token_file: str
    optional_inputs_file: str
    log_dir: str | None
    durable_log: bool
    """Whether a response waits until its prediction is on the disk."""
    max_rows: int
    max_body_bytes: int
    event_time_from_year: int
    event_time_days_ahead: int
