"""What an MLflow run shows of a training: parameters, metrics, the data, tags and files."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput
    from mlflow.tracking import MlflowClient

Item = TypeVar("Item")
CLASSIC_VIEW = {"mlflow.experimentKind": "custom_model_development"}
"""The tag of an experiment whose runs are trainings; without it, MLflow opens its view of prompts and traces."""
MOST_METRICS, MOST_PARAMETERS = 1000, 100
"""MLflow's limits of one batch; of more metrics, the first ones are logged."""
LONGEST_NAME, LONGEST_VALUE, LONGEST_DIGEST, LONGEST_SOURCE, LONGEST_TAG = 250, 500, 36, 60_000, 8000


@dataclass(frozen=True)
class TrainingData:
    """The snapshot that a run trained on."""

    window: str
    """The newest one, by which MLflow names the data."""
    snapshot: str
    paths: Sequence[str]
    """Of the partitions, oldest first."""
    rows: int
    columns: Mapping[str, str] = field(default_factory=dict)
    """Feature → its type in model.yaml."""


@dataclass(frozen=True)
class RunContent:
    """Everything that a run shows, apart from its files."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    data: TrainingData | None = None


def fill_run(client: MlflowClient, run_id: str, content: RunContent, bundle: Path) -> None:
    """Log content and files. If this was interrupted, it can be done again."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    tags = [RunTag(name, text[:LONGEST_TAG]) for name, text in content.tags.items()]
    metrics = {entity_name(name): value for name, value in content.metrics.items()}
    parameters = {entity_name(name): shortened(value) for name, value in content.parameters.items()}
    logged = [Metric(name, value, now, 0) for name, value in list(metrics.items())[:MOST_METRICS]]
    client.log_batch(run_id, metrics=logged, tags=tags)
    for batch in _batches([Param(name, text) for name, text in parameters.items()], MOST_PARAMETERS):
        client.log_batch(run_id, params=batch)
    if content.data:
        client.log_inputs(run_id, datasets=[_dataset_input(content.data)])
    client.log_artifacts(run_id, str(bundle))


def entity_name(name: str) -> str:
    """The name of a parameter or metric with only those characters that MLflow accepts; others become ``_``.

    The name of a slice, ``origin=EWR``, becomes ``origin:EWR``.
    """
    return re.sub(r"[^\w.\- :]", "_", name.replace("=", ":")).lstrip(".")[:LONGEST_NAME] or "_"


def shortened(value: object) -> str:
    """The value of a parameter as text; a long one ends with an ellipsis."""
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _dataset_input(data: TrainingData) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    paths = list(data.paths)
    while len(source := json.dumps({"uri": paths[-1] if paths else "", "paths": paths})) > LONGEST_SOURCE:
        paths = paths[len(paths) // 2 :]
    types = {"category": "string", "boolean": "boolean", "integer": "long", "number": "double"}
    columns = [{"type": types[kind], "name": name} for name, kind in data.columns.items()]
    dataset = Dataset(
        name=data.window,
        digest=data.snapshot[:LONGEST_DIGEST],
        source_type="local",
        source=source,
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": data.rows}),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
