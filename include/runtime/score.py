"""Predict rows with a trained model: ``python -m runtime.score job.json``."""

from __future__ import annotations

from pathlib import Path

from .config import ScoreJob
from .frames import between, read_rows, typed_columns
from .jobs import ModelError, run
from .model_code import call
from .predictions import require_finite
from .predictor import load_predictor


def main(job: ScoreJob) -> None:
    """Write the key, event time and prediction of each row to ``job["out"]``; ModelError when there are no rows."""
    model, out = job["model"], Path(job["out"])
    predictor = load_predictor(job, model)
    names = [feature["name"] for feature in model["features"]]
    rows = read_rows(job["data"], [model["key"], model["event_time"], *names])
    rows = between(rows, model["event_time"], job.get("from"), job.get("until"))
    if rows.empty:
        raise ModelError(f"there are no rows to score from {job.get('from')} until {job.get('until')}.")
    rows["prediction"] = require_finite(call(predictor.predict, "predict", typed_columns(rows, model["features"])))
    out.parent.mkdir(parents=True, exist_ok=True)
    rows[[model["key"], model["event_time"], "prediction"]].to_parquet(out, index=False)
    print(f"{len(rows)} rows scored", flush=True)


if __name__ == "__main__":
    run(main)
