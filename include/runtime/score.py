"""Predict rows with a trained model: ``python -m runtime.score job.json``."""

from __future__ import annotations

from pathlib import Path

from . import artifact
from .config import ScoreJob
from .frames import between, read_rows
from .jobs import ModelError, run
from .model_code import call, predict, prepare, require_finite


def main(job: ScoreJob) -> None:
    """Write the key, event time and prediction of each row to ``job["out"]``; ModelError when there are no rows."""
    model, out = job["model"], Path(job["out"])
    fitted = artifact.load(Path(job["artifact"]), job["sha256"], model)
    names = [feature["name"] for feature in model["features"]]
    rows = read_rows(job["data"], [model["key"], model["event_time"], *names])
    rows = between(rows, model["event_time"], job.get("from"), job.get("until"))
    if rows.empty:
        raise ModelError(f"there are no rows to score from {job.get('from')} until {job.get('until')}.")
    rows["prediction"] = require_finite(call(predict, "predict", model, fitted, prepare(model, rows)))
    out.parent.mkdir(parents=True, exist_ok=True)
    rows[[model["key"], model["event_time"], "prediction"]].to_parquet(out, index=False)
    print(f"{len(rows)} rows scored", flush=True)


if __name__ == "__main__":
    run(main)
