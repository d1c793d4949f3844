"""Takes what a training says about the holdout: predictions only; rows, ground truth and times are the snapshot's."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from include.adapters.data.snapshots import Snapshot
from include.adapters.engines.job_results import REMEDY, read_rows, read_training_report
from include.core.errors import TrainingError
from include.core.spec import ModelSpec
from include.core.windows import window_bounds


def take_holdout(
    spec: ModelSpec, snapshot: Snapshot, file: Path, predicted: list[str], since: datetime, until: datetime
) -> None:
    """Replace the holdout that the job left with the snapshot's own rows and the job's predictions for them.

    The job runs the commit's code: its word counts for nothing but its predictions, and ground truth least of all.
    Raises TrainingError unless there is one prediction for each row.
    """
    data, grain = spec.data, spec.monitoring.window
    paths = [path for window, path in snapshot.partitions.items() if window_bounds(window, grain)[1] > since]
    columns = list(dict.fromkeys([data.key, data.event_time, *spec.feature_names, spec.target]))
    rows = pd.concat([pd.read_parquet(path, columns=columns) for path in paths], ignore_index=True)
    rows = rows[(rows[data.event_time] >= since) & (rows[data.event_time] < until)].reset_index(drop=True)
    left = read_rows(file, [data.key, *predicted], snapshot.rows)
    try:
        same_rows = left[data.key].astype(str).equals(rows[data.key].astype(str))
        predictions = left[predicted].astype(float)
    except (ValueError, TypeError) as error:
        raise TrainingError(f"{spec.name}: {file.name}: the predictions are not numbers ({error}). {REMEDY}") from None
    if not same_rows or not np.isfinite(predictions.to_numpy()).all():
        raise TrainingError(f"{spec.name}: {file.name} has no prediction for each row of the holdout. {REMEDY}")
    holdout = pd.concat([rows, predictions], axis=1)
    holdout.to_parquet(file, index=False)


def check_trained_until(spec: ModelSpec, snapshot: Snapshot, report: Path, train_until: datetime) -> None:
    """TrainingError unless the report names the newest row before ``train_until``: later holdouts begin after it."""
    reported = pd.Timestamp(read_training_report(report)["trained_until"])
    for path in reversed(snapshot.paths):
        times = pd.read_parquet(path, columns=[spec.data.event_time])[spec.data.event_time]
        before = times[times < train_until]
        if len(before):
            if reported != before.max():
                raise TrainingError(
                    f"{spec.name}: {report.name} says that it trained until {reported}, but the newest training row "
                    f"is of {before.max()}. {REMEDY}"
                )
            return
