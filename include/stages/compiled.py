"""Decides what of a candidate serves: its compiled form if that predicts the same, else the estimator itself.

The training's job compiled it, and only reports predictions; the decision is the platform's. Everything that follows
(metrics, profile, golden examples, promotion) then uses the predictions of what will serve.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd

from include.adapters.engines.job_results import read_training_report
from include.adapters.files import write_atomically
from include.adapters.registry import COMPILED_FILE
from include.core.quality.compiled import why_not_compiled
from include.core.spec import ModelSpec

log = logging.getLogger(__name__)

COLUMN = "compiled"
"""The column of the holdout with the compiled model's predictions."""


def tolerance(spec: ModelSpec) -> float | None:
    """The tolerance for the training's job; None if it must not compile."""
    return None if spec.training.compile == "off" else spec.training.compile_tolerance


def files(folder: Path) -> list[str]:
    """The file with the compiled model, if there is one in the candidate's folder."""
    return [COMPILED_FILE] if (folder / COMPILED_FILE).exists() else []


def columns(folder: Path) -> list[str]:
    """The column of the holdout that a job left, if it compiled the model."""
    return [COLUMN for _ in files(folder)]


def settle(spec: ModelSpec, holdout_file: Path, report_file: Path) -> None:
    """Keep ``model.onnx`` and its predictions if it may serve, or remove both and log why.

    The reason is recorded as ``not_compiled`` in the training's report, which becomes part of the version's lineage.
    """
    compiled, report = holdout_file.with_name(COMPILED_FILE), read_training_report(report_file)
    if compiled.exists():
        holdout = pd.read_parquet(holdout_file)
        reason = why_not_compiled(spec, holdout)
        if reason:
            compiled.unlink()
        else:
            holdout["prediction"] = holdout[COLUMN]
        holdout.drop(columns=COLUMN).to_parquet(holdout_file, index=False)
    else:
        reason = report["not_compiled"] or "the training left no model.onnx"
    report["not_compiled"] = reason
    write_atomically(report_file, json.dumps(report, indent=1).encode())
    log.info("%s: %s", spec.name, f"not compiled to ONNX: {reason}" if reason else "compiled to ONNX")
