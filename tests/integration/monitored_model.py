"""A model that is monitored: its log, truth, bundles and store, for the tests of monitoring and what follows it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import yaml

from include.core.health.record import HealthRow
from include.core.release.rollout import Rollout
from include.runtime.prediction_log import LogEntry
from include.stages.installation import open_installation
from tests.support.bundles import UnregisteredBundles
from tests.support.specs import spec_values

MODEL = spec_values(
    description="Lateness <of> flights.",
    metrics={"also": ["brier"], "slices": ["origin"]},
    monitoring={"rows_at_least": 100},
    degradation={"windows": 3, "breaches": 2},
)


class MonitoredModel:
    """One model with its log, truth, bundles and store below a temporary EVERGREEN_HOME."""

    def __init__(self, home: Path, lake: Path | None = None) -> None:
        from include.core.spec import ModelSpec

        here = open_installation()
        self.installation = replace(here, registry=UnregisteredBundles(here.settings))
        self.home, self.store, self.spec = home, here.store, ModelSpec.model_validate(MODEL)
        self.lake = lake or home
        self.random = np.random.default_rng(0)
        self.truth: dict[str, pd.DataFrame] = {}
        self.bundle("1")
        nothing = self.store.release("late", "production")
        rollout = Rollout("test", "1", lease=0.0)
        self.store.swap_release(nothing, nothing.begin_canary("1", 100, rollout, "test").promote("1", "test"))

    def frame(self, rows: int) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "distance": self.random.normal(500, 100, rows),
                "origin": self.random.choice(["EWR", "JFK"], rows),
                "prediction": self.random.random(rows),
            }
        )

    def bundle(self, version: str) -> None:
        from include.core.drift.profile import build_profile
        from include.core.quality.estimation import build_estimator

        frame, folder = self.frame(2000), self.home / "artifacts" / "late" / version
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(self.spec.model_dump_json(by_alias=True))
        figure = {"value": 0.9, "low": 0.88, "high": 0.92, "n": 2000}
        (folder / "metrics.json").write_text(json.dumps({"quality": {"roc_auc": figure}, "slices": {}}))
        (folder / "profile.json").write_text(json.dumps(build_profile(frame, self.spec, frame.prediction)))
        holdout = frame.assign(late=frame.prediction + self.random.normal(0, 0.1, len(frame)) > 0.5)
        (folder / "estimator.json").write_text(json.dumps(build_estimator(holdout, self.spec)))

    def keep_reference(self, version: str = "1", rows: int = 2000) -> None:
        """The rows that the version was trained on, in the lake as a training leaves them."""
        from include.adapters.data.snapshots import take_snapshot

        self.training_data(rows)
        snapshot = take_snapshot(self.installation.settings, self.spec, "2013-01")
        lineage = {"snapshot": snapshot.hash, "trained_until": "2013-01-31T00:00:00"}
        (self.home / "artifacts" / "late" / version / "lineage.json").write_text(json.dumps(lineage))

    def training_data(self, rows: int = 2000) -> None:
        """Rows of January 2013 where trainings read them."""
        data = self.lake / "data" / "2013-01.parquet"
        data.parent.mkdir(parents=True, exist_ok=True)
        number = np.arange(rows)
        at = pd.Timestamp("2013-01-01") + pd.to_timedelta(number % 28, unit="D")
        frame = self.frame(rows).drop(columns="prediction").assign(late=False, at=at)
        frame.assign(id=number.astype(str)).to_parquet(data)

    def predict(self, window: str, rows: int = 300, version: str = "1", noise: float = 0.1, days: int = 1) -> None:
        """Log ``rows`` requests; more noise makes predictions worse. All on the 15th, or on the month's first days."""
        frame, log = self.frame(rows), self.home / "prediction_log" / "late"
        frame["id"] = [f"{window}/{version}/{n}" for n in range(rows)]
        frame["late"] = frame.prediction + self.random.normal(0, noise, rows) > 0.5
        self.truth[window] = pd.concat([self.truth.get(window), frame[["id", "late"]]])
        log.mkdir(parents=True, exist_ok=True)
        with (log / f"{version}-1-{window}.jsonl").open("a") as file:
            for place, (number, row) in enumerate(frame.iterrows()):
                line: LogEntry = {
                    "request_id": row["id"],
                    "received": 1.0 + number,
                    "version": version,
                    "release": "production@1",
                    "keys": [row["id"]],
                    "event_times": [f"{window}-{15 if days == 1 else 1 + place % days:02d}T10:00:00"],
                    "features": {"distance": [row["distance"]], "origin": [row["origin"]]},
                    "predictions": [row["prediction"]],
                }
                file.write(json.dumps(line) + "\n")

    def truth_arrives(self, window: str) -> None:
        path = self.lake / "truth" / f"{window}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.truth[window].to_parquet(path)

    def gather(self) -> None:
        """What the first task of late.monitoring does."""
        from include.stages.monitoring import gather_predictions

        gather_predictions(self.installation, self.spec)

    def monitor(self, window: str = "") -> dict[str, Any]:
        """What the tasks of late.monitoring do; returns the asset event's extra."""
        from evergreen.assets import model_asset
        from evergreen.operators.check_measurement import CheckMeasurementOperator
        from evergreen.operators.gather_predictions import GatherPredictionsOperator
        from evergreen.operators.measure_health import MeasureHealthOperator
        from evergreen.operators.publish_health import PublishHealthOperator

        event = SimpleNamespace(extra={})
        run = SimpleNamespace(run_id=f"manual__{window}", run_after=datetime(2013, 6, 1, tzinfo=UTC))
        context: Any = {"dag_run": run, "outlet_events": {model_asset("late", "health"): event}}
        gathered = GatherPredictionsOperator(task_id="gather_predictions", model="late").execute(context)
        measure = MeasureHealthOperator(task_id="measure_health", model="late", window=window, gathered=gathered)
        windows = json.loads(json.dumps(measure.execute(context)))
        PublishHealthOperator(task_id="publish_health", model="late", windows=windows).execute(context)
        CheckMeasurementOperator(task_id="check_measurement", model="late", windows=windows).execute(context)
        return dict(event.extra)

    def month(self, window: str, **more: Any) -> None:
        """A whole month, with ground truth."""
        self.predict(window, **{"days": 28, **more})
        self.truth_arrives(window)
        self.monitor(window)

    def ask(self, *, wait: bool = False) -> Any:
        from evergreen.sensors.degraded_health import DegradedHealthSensor

        return DegradedHealthSensor(task_id="degraded_health", model="late").poke({"params": {"wait": wait}})

    def health(self, window: str) -> HealthRow:
        return next(row for row in self.store.health("late") if row.window == window)

    def change_spec(self, **changes: Any) -> None:
        """Write a model.yaml that differs from what version 1 was made with; sections may name some fields only."""
        values = dict(MODEL)
        for name, change in changes.items():
            values[name] = {**values[name], **change} if isinstance(change, dict) else change
        (self.installation.settings.models / "late" / "model.yaml").write_text(yaml.safe_dump(values))

    def release(self, version: str) -> None:
        """Make the version the one that serves."""
        self.bundle(version)
        now = self.store.release("late", "production")
        self.store.swap_release(now, now.promote(version, "test"))
