"""Measures the health of a window, and of the earlier ones that something new came for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from evergreen.model_dags import spec_of
from include.core.errors import DataError, PlatformError
from include.core.windows import window_bounds, window_of, windows_before

if TYPE_CHECKING:
    import pandas as pd

    from include.adapters.data.predictions import Predictions
    from include.adapters.store import Store
    from include.core.drift.counts import WindowCount
    from include.core.spec import ModelSpec

OLDER_WINDOWS = 60
"""How far back late predictions and late truth are looked for."""


class MeasureHealthOperator(BaseOperator):
    """Measure ``window`` of ``model`` and keep its health in the store; returns the windows that were measured.

    ``window`` may be empty: the window that ended last before the run. ``gathered`` is what gather_predictions
    returned. Earlier windows are measured too when they have rows that their health does not know, or wait for truth.
    """

    template_fields = ("window", "gathered")

    def __init__(self, *, model: str, window: str, gathered: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.model = model
        self.window = window
        self.gathered = gathered

    def execute(self, context: Any) -> list[str]:
        from include.stages.installation import open_installation

        spec, store = spec_of(self.model), open_installation().store
        run = context["dag_run"]
        newest = self.window or ended_last(spec, run.run_after)
        window_bounds(newest, spec.monitoring.window)
        windows = [*self.reopened(spec, store, newest), newest]
        for window in windows:
            row = self.measure(spec, window) | {"run_id": run.run_id}
            store.record_health(self.model, window, row)
            self.log.info(
                "%s %s: %s, %d predictions, %d with truth, %s %s, drifted: %s",
                self.model, window, row["status"], row["predictions"], row["rows"], row["metric"],
                (row["quality"].get(row["metric"]) or {}).get("value"), ", ".join(row["drift"]["drifted"]) or "none",
            )  # fmt: skip
        return windows

    def reopened(self, spec: ModelSpec, store: Store, newest: str) -> list[str]:
        """Windows before ``newest`` whose predictions or truth have come in since they were measured."""
        from include.adapters.data.predictions import gathered_rows
        from include.adapters.data.sources import window_exists

        measured = {row["window"]: row for row in store.health(self.model)}
        rows, grain = gathered_rows(self.model), spec.monitoring.window

        def changed(window: str) -> bool:
            row = measured.get(window)
            if row is None:
                return window in rows
            if rows.get(window, 0) != row["predictions"] + row["service"]["duplicates"] or row["status"] == "partial":
                return True
            return row["status"] == "waiting" and window_exists(spec.truth.source, window, grain)

        return [window for window in windows_before(newest, grain, OLDER_WINDOWS)[:-1] if changed(window)]

    def measure(self, spec: ModelSpec, window: str) -> dict[str, Any]:
        """The window's health row, from the lake and the live version's bundle."""
        from include.adapters.data.predictions import read_predictions
        from include.adapters.data.samples import compare_window
        from include.core.health.window import live_version_of, measure, predictions_before
        from include.core.quality.estimation import features_needed
        from include.pages.window import report_path
        from include.stages.installation import open_installation

        predictions = read_predictions(spec, window)
        live = live_version_of(predictions.frame)
        bundle = self.bundle(live) if live else None
        profile = _read(bundle, "profile.json")
        truth, problem = self.truth(spec, window)
        estimator = _read(bundle, "estimator.json")
        needed = {*spec.metrics.slices, *features_needed(estimator)}
        gathered = self.gathered or {}
        row = measure(
            window,
            spec,
            predictions.frame.assign(**{name: predictions.feature(name) for name in sorted(needed)}),
            truth,
            reference=_read(bundle, "metrics.json"),
            profile=profile,
            estimator=estimator,
            as_of=datetime.now(UTC).replace(tzinfo=None),
            duplicates=predictions.duplicates,
            truth_problem=problem,
            service={name: gathered.get(name, 0) for name in ("torn_lines", "broken_lines")},
            counted=self.counted(spec, window, live, profile, predictions) if live else None,
            skew=self.skew(spec, window, live, predictions) if live else None,
            earlier=predictions_before(window, spec, open_installation().store.health(self.model)),
            multivariate=compare_window(spec, window, live, _read(bundle, "lineage.json")) if live else None,
        )
        return row | {"report": str(report_path(self.model, window))}

    def truth(self, spec: ModelSpec, window: str) -> tuple[pd.DataFrame | None, str | None]:
        """Truth of the window; None and the reason when there is none that can be used, which holds the policy."""
        from include.adapters.data.sources import read_window, window_exists

        source, grain = spec.truth.source, spec.monitoring.window
        if not window_exists(source, window, grain):
            return None, f"truth of window {window} has not arrived"
        try:
            return read_window(source, window, grain, [spec.truth.key, spec.truth.column]), None
        except DataError as error:
            self.log.error("no truth for %s: %s", window, error)
            return None, str(error)

    def counted(
        self, spec: ModelSpec, window: str, version: str, profile: dict[str, Any] | None, predictions: Predictions
    ) -> WindowCount:
        """The version's rows of these predictions, each once, counted part by part."""
        from include.adapters.data.counting import count_window

        told = 0

        def tell(done: int, whole: int) -> None:
            nonlocal told
            if (tenths := 10 * done // max(whole, 1)) > told:
                told = tenths
                self.log.info("%s %s: %d %% of the window is counted", self.model, window, 10 * tenths)

        count = count_window(spec, window, version, profile, parts=predictions.parts, progress=tell)
        if count.rows != (predictions.frame["version"] == version).sum():
            raise DataError(f"{self.model}: predictions of {window} were written again meanwhile. Measure it again.")
        return count

    def skew(self, spec: ModelSpec, window: str, version: str, predictions: Predictions) -> dict[str, Any] | None:
        """A sample of the version's rows against those that training reads; None where there are none (yet)."""
        import numpy as np
        import pandas as pd

        from include.adapters.data.sources import read_keys, window_exists
        from include.core.health.data_quality import sampled, skew

        source, grain, frame = spec.data.source, spec.monitoring.window, predictions.frame
        try:
            if not window_exists(source, window, grain):
                return None
            answered = np.flatnonzero(frame["version"] == version)
            rows = sampled(answered)
            keys = frame["key"].iloc[rows].reset_index(drop=True)
            columns = [spec.data.key, *spec.feature_names]
            known = read_keys(source, window, grain, columns, spec.data.key, set(keys.dropna()))
            served = pd.DataFrame({"key": keys, **{name: predictions.feature(name, rows) for name in columns[1:]}})
            return {**skew(served, known, spec), "asked": len(rows), "of": len(answered)}
        except (DataError, PlatformError) as error:
            self.log.warning("%s is not compared with its source: %s", window, error)
            return None

    def bundle(self, version: str) -> Path:
        """Folder with the artifacts of a version."""

        from include.stages.installation import open_installation

        return open_installation().registry.fetch(self.model, version)


def ended_last(spec: ModelSpec, moment: datetime) -> str:
    """The newest window that was over at ``moment``."""
    utc = moment.astimezone(UTC) if moment.tzinfo else moment
    grain = spec.monitoring.window
    return windows_before(window_of(utc, grain), grain, 2)[0]


def _read(folder: Path | None, name: str) -> dict[str, Any] | None:
    """A JSON file of the bundle; None when the version has none, so that what needs it is 'not known'."""
    path = folder / name if folder else None
    return json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else None
