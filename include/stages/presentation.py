"""What a version's bundle has for people: the MLmodel file, the model card, and pictures of the holdout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from include.adapters.data.snapshots import Snapshot
from include.adapters.files import write_atomically
from include.adapters.mlflow_run import TrainingData
from include.adapters.mlmodel import EXAMPLE, REQUIREMENTS, write_mlmodel
from include.core.build import Lineage, TrainingReport
from include.core.json_types import JsonObject
from include.core.quality.figures import Quality, quality_from_dict
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.pages.model_card import model_card
from include.pages.run_pictures import draw_pictures

CARD, PICTURES = "card.md", "pictures"
FILES = ("MLmodel", EXAMPLE, REQUIREMENTS, CARD)
"""What is written besides the folder PICTURES."""


def present(
    spec: ModelSpec,
    folder: Path,
    rows: pd.DataFrame,
    holdout: pd.DataFrame,
    examples: Sequence[Mapping[Any, Any]],
    lineage: Lineage,
) -> None:
    """Write FILES and the pictures into the candidate's folder, which has ``metrics.json``.

    ``rows`` are training data; ``examples`` are rows of raw features.
    """
    figures: JsonObject = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    write_mlmodel(folder, spec, rows, examples, lineage.training["sha256"])
    write_atomically(folder / CARD, model_card(spec, lineage, figures).encode())
    shutil.rmtree(folder / PICTURES, ignore_errors=True)
    draw_pictures(holdout, spec, folder / PICTURES)


def training_data(spec: ModelSpec, snapshot: Snapshot) -> TrainingData:
    """The snapshot, as the run's input."""
    columns = {feature.name: feature.type for feature in spec.features}
    return TrainingData(snapshot.window, snapshot.hash, snapshot.paths, snapshot.rows, columns)


def run_parameters(
    spec: ModelSpec, given: Mapping[str, object], snapshot: Snapshot, report: TrainingReport
) -> dict[str, object]:
    """What the estimator function was called with, what the fitted estimator says, and the numbers of rows.

    Both may have the same name and mean different things: then the argument is called ``training.<name>``.
    """
    own: dict[str, object] = {**report.get("parameters", {})}
    rows = {"rows": snapshot.rows, "rows_trained": report.get("rows"), "rows_holdout": report.get("holdout_rows")}
    arguments = {
        name if str(own.get(name, value)) == str(value) else f"training.{name}": value
        for name, value in {**spec.training.parameters, **given}.items()
    }
    return {**arguments, **rows, **{name: value for name, value in own.items() if name not in rows}}


def version_tags(verdict: Verdict, lineage: Lineage, report: TrainingReport) -> dict[str, str]:
    """The tags of a version: verdict, commit, what serves it, and if that is not its compiled form, why."""
    reason = report.get("not_compiled", "")
    served = {"served_by": "estimator", "not_compiled": reason} if reason else {"served_by": "onnx"}
    return {"verdict": verdict.answer, "verdict_reason": verdict.reason, "commit": lineage.commit, **served}


def run_metrics(figures: JsonObject) -> dict[str, float]:
    """Metric → value from ``metrics.json``, with the bounds of its interval; of slices only values, as metric.slice."""
    slices = {
        f"{metric}.{name}": figure.value
        for name, quality in figures["slices"].items()
        for metric, figure in quality_from_dict(quality).items()
        if figure.value is not None
    }
    return {**_with_bounds(quality_from_dict(figures["quality"])), **slices}


def _with_bounds(quality: Quality) -> dict[str, float]:
    """Metric name → value, with the bounds of its interval as ``<name>_low`` and ``<name>_high``."""
    values = {}
    for name, figure in quality.items():
        for key, value in ((name, figure.value), (f"{name}_low", figure.low), (f"{name}_high", figure.high)):
            if value is not None:
                values[key] = float(value)
    return values
