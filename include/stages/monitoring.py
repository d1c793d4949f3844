"""The health of a model's predictions: gather the prediction log, measure the health of windows, publish it.

Each step is idempotent: rows are gathered once, and measuring a window again replaces its health.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from include.adapters.data.counting import count_window
from include.adapters.data.gathering import Gathered, SpecOf, gather, repair_window
from include.adapters.data.predictions import Predictions, gathered_rows, no_predictions, read_predictions
from include.adapters.data.samples import compare_window
from include.adapters.data.sources import read_keys, read_window, window_exists
from include.core.build import Lineage
from include.core.drift.counts import WindowCount
from include.core.drift.figures import MultivariateFigure
from include.core.drift.profile import read_profile
from include.core.errors import ArtifactError, DataError, EvergreenError, NotRegisteredError, PlatformError
from include.core.health.data_quality import sampled, skew
from include.core.health.policy import Decision, evaluate_policy
from include.core.health.record import HealthRow, Incident, Skew, estimate_errors_before
from include.core.health.window import Reference, Truth, WindowInputs, live_version_of, measure, predictions_before
from include.core.quality.estimation import features_needed
from include.core.quality.figures import quality_from_dict
from include.core.spec import ModelSpec, change_between
from include.core.typed_columns import kinds_of
from include.core.windows import window_bounds, window_of, windows_before
from include.pages.history import write_history
from include.pages.rendering import report_path
from include.pages.window import write_window
from include.stages.choices import renew_choices
from include.stages.installation import Installation
from include.stages.retraining import decide, past_incidents

log = logging.getLogger(__name__)

RETRIED = (PlatformError, ConnectionError, TimeoutError)
"""Errors that are not the data's: the task is tried again."""
OLDER_WINDOWS = 60
"""How many windows back to look for late predictions and late ground truth."""


def gather_predictions(installation: Installation, spec: ModelSpec) -> Gathered:
    """Copy new lines of the model's prediction log into the lake."""
    settings = installation.settings
    installation.engine.fetch_predictions(spec.name)
    log_dir = settings.prediction_log / spec.name
    return gather(spec, installation.store, log_dir, settings.lake, _spec_of_versions(installation, spec))


def last_ended(spec: ModelSpec, time: datetime) -> str:
    """The last window that had ended at ``time``."""
    utc = time.astimezone(UTC) if time.tzinfo else time
    grain = spec.monitoring.window
    return windows_before(window_of(utc, grain), grain, 2)[0]


def windows_to_measure(installation: Installation, spec: ModelSpec, newest: str) -> list[str]:
    """The earlier windows with new predictions or ground truth since they were measured, followed by ``newest``."""
    window_bounds(newest, spec.monitoring.window)
    home = installation.settings.home
    measured = {row.window: row for row in installation.store.health(spec.name, spec.monitoring.window)}
    rows = gathered_rows(spec.name, installation.settings.lake, spec.monitoring.window)

    def changed(window: str) -> bool:
        row = measured.get(window)
        if row is None:
            return window in rows
        if row.problem:
            return True
        if rows.get(window, 0) != row.predictions + row.service.duplicates or row.status == "partial":
            return True
        return row.status == "waiting" and window_exists(home, spec.truth.source, window, spec.monitoring.window)

    earlier = windows_before(newest, spec.monitoring.window, OLDER_WINDOWS)[:-1]
    return [*filter(changed, earlier), newest]


def measure_windows(
    installation: Installation, spec: ModelSpec, windows: Sequence[str], gathered: Gathered | None, run_id: str
) -> list[HealthRow]:
    """Measure each window by itself: one that can't be measured keeps its figures, and holds up no other.

    Files of predictions that can't be read are gathered again first. If the platform was at fault for a window, its
    error is raised after the others were measured, so that all of them are tried again.
    """
    rows, unavailable = [], None
    for window in windows:
        try:
            rows.append(_measured_or_problem(installation, spec, window, gathered, run_id))
        except RETRIED as error:
            log.error("%s %s could not be measured yet: %s", spec.name, window, error)
            unavailable = error
    renew_choices(installation, spec.name, "windows")
    if unavailable:
        raise unavailable
    return rows


def require_measured(installation: Installation, spec: ModelSpec, windows: Sequence[str]) -> None:
    """Raise DataError with the problem of each of these windows that could not be measured."""
    rows = installation.store.health(spec.name, spec.monitoring.window)
    problems = [f"{row.window}: {row.problem}" for row in rows if row.window in windows and row.problem]
    if problems:
        raise DataError(
            f"{spec.name}: {len(problems)} of {len(windows)} windows could not be measured; the others were. The next "
            "run of this Dag measures them again.\n" + "\n".join(problems)
        )


def _measured_or_problem(
    installation: Installation, spec: ModelSpec, window: str, gathered: Gathered | None, run_id: str
) -> HealthRow:
    try:
        try:
            return measure_health(installation, spec, window, gathered, run_id)
        except DataError:
            if not _repaired(installation, spec, window):
                raise
            return measure_health(installation, spec, window, gathered, run_id)
    except RETRIED:
        raise
    except Exception as error:  # whatever is wrong with one window
        log.exception("%s %s could not be measured", spec.name, window)
        reason = str(error) if isinstance(error, EvergreenError) else f"{type(error).__name__}: {error}"
        known = {row.window: row for row in installation.store.health(spec.name, spec.monitoring.window)}
        row = replace(known.get(window) or _unmeasured(installation, spec, window), problem=reason, run_id=run_id)
        installation.store.record_health(spec.name, row)
        return row


def _repaired(installation: Installation, spec: ModelSpec, window: str) -> bool:
    settings = installation.settings
    log_dir, spec_of = settings.prediction_log / spec.name, _spec_of_versions(installation, spec)
    return bool(repair_window(spec, window, installation.store, log_dir, settings.lake, spec_of))


def _unmeasured(installation: Installation, spec: ModelSpec, window: str) -> HealthRow:
    """A window of which nothing is known, which makes the policy hold."""
    inputs = WindowInputs(
        window=window,
        as_of=datetime.now(UTC).replace(tzinfo=None),
        predictions=no_predictions(),
        truth=Truth(problem="the window could not be measured"),
        reference=Reference(),
        earlier=predictions_before(window, spec, installation.store.health(spec.name)),
    )
    return replace(measure(inputs, spec), report=str(report_path(installation.settings.reports, spec.name, window)))


def _spec_of_versions(installation: Installation, spec: ModelSpec) -> SpecOf:
    @cache
    def spec_of(version: str) -> ModelSpec:
        try:
            return installation.registry.spec(spec, version)
        except (ArtifactError, NotRegisteredError) as error:  # its predictions are read all the same
            log.warning("%s: predictions of version %s are read by today's model.yaml: %s", spec.name, version, error)
            return spec

    return spec_of


def measure_health(
    installation: Installation, spec: ModelSpec, window: str, gathered: Gathered | None = None, run_id: str = ""
) -> HealthRow:
    """Measure one window and record its health; ``gathered`` provides the counts of truncated and malformed lines."""
    now = datetime.now(UTC).replace(tzinfo=None)
    predictions = read_predictions(spec, window, installation.settings.lake)
    live = live_version(installation, spec, predictions)
    own, history = live.spec if live else spec, installation.store.health(spec.name)
    predictions = replace(predictions, spec=own)
    inputs = WindowInputs(
        window=window,
        as_of=now,
        predictions=_columns_for_quality(own, predictions, live),
        truth=read_truth(installation, spec, window),
        reference=live.reference if live else Reference(),
        duplicates=predictions.duplicates,
        counted=count_live(installation, window, predictions, live) if live else None,
        multivariate=compare_with_training(installation, window, live) if live else None,
        skew=compare_with_source(installation, spec, window, predictions, live) if live else None,
        earlier=predictions_before(window, spec, history),
        estimate_errors=estimate_errors_before(window, spec.monitoring.window, history),
        truncated_lines=gathered.truncated_lines if gathered else 0,
        malformed_lines=gathered.malformed_lines if gathered else 0,
    )
    report = report_path(installation.settings.reports, spec.name, window)
    change = change_between(own, spec)
    row = replace(measure(inputs, own), spec_change=str(change) if change else "", report=str(report), run_id=run_id)
    installation.store.record_health(spec.name, row)
    return row


@dataclass(frozen=True)
class LiveVersion:
    """The version that made most of a window's predictions, with what its bundle says of it."""

    version: str
    spec: ModelSpec
    """The specification that it was made with."""
    reference: Reference
    lineage: Lineage | None


def live_version(installation: Installation, spec: ModelSpec, predictions: Predictions) -> LiveVersion | None:
    """The live version with its reference; None in a window without predictions."""
    version = live_version_of(predictions.frame)
    if version is None:
        return None
    bundle, own = installation.registry.fetch(spec.name, version), installation.registry.spec(spec, version)
    metrics, profile = _read(bundle / "metrics.json") or {}, _read(bundle / "profile.json")
    reference = Reference(
        quality=quality_from_dict(metrics.get("quality", {})),
        profile=read_profile(profile, own) if profile else None,
        estimator=_read(bundle / "estimator.json"),
    )
    lineage = _read(bundle / "lineage.json")
    return LiveVersion(version, own, reference, Lineage.from_dict(lineage) if lineage else None)


def read_truth(installation: Installation, spec: ModelSpec, window: str) -> Truth:
    """The window's ground truth, or the reason why there is none, which makes the policy hold."""
    home, source, grain = installation.settings.home, spec.truth.source, spec.monitoring.window
    if not window_exists(home, source, window, grain):
        return Truth(problem=f"ground truth of window {window} has not arrived")
    try:
        return Truth(read_window(home, source, window, grain, {spec.truth.key: "key", spec.truth.column: "target"}))
    except DataError as error:
        log.error("no ground truth for %s: %s", window, error)
        return Truth(problem=str(error))


def count_live(installation: Installation, window: str, predictions: Predictions, live: LiveVersion) -> WindowCount:
    """Count the live version's predictions, each once, file by file."""
    count = count_window(
        live.spec,
        window,
        live.version,
        live.reference.profile,
        files=predictions.files,
        lake=installation.settings.lake,
        progress=_log_tenths(live.spec, window),
    )
    if count.rows != (predictions.frame["version"] == live.version).sum():
        raise DataError(
            f"{live.spec.name}: predictions of {window} changed while they were counted. Measure the window again."
        )
    return count


def compare_with_training(installation: Installation, window: str, live: LiveVersion) -> MultivariateFigure:
    """Compare a sample of the live version's rows with a sample of its training data."""
    return compare_window(live.spec, window, live.version, live.lineage, lake=installation.settings.lake)


def compare_with_source(
    installation: Installation, spec: ModelSpec, window: str, predictions: Predictions, live: LiveVersion
) -> Skew | None:
    """Compare a sample of the live version's rows with the rows that training reads; None if there are none (yet)."""
    home, source, grain = installation.settings.home, spec.data.source, spec.monitoring.window
    frame = predictions.frame
    try:
        if not window_exists(home, source, window, grain):
            return None
        live_rows = np.flatnonzero(frame["version"] == live.version)
        rows = sampled(live_rows)
        keys = frame["key"].iloc[rows].reset_index(drop=True)
        names = [name for name in live.spec.feature_names if name in spec.feature_names]
        kinds = {name: kind for name, kind in kinds_of(spec).items() if name in (spec.data.key, *names)}
        known = read_keys(home, source, window, grain, kinds, spec.data.key, set(keys.dropna()))
        served = pd.DataFrame({"key": keys, **{name: predictions.feature(name, rows) for name in names}})
        compared = live.spec.model_copy(update={"data": spec.data})
        return skew(served, known, compared, drawn_from=len(live_rows))
    except (DataError, PlatformError) as error:
        log.warning("%s could not be compared with the training source: %s", window, error)
        return None


def publish_health(installation: Installation, spec: ModelSpec, measured: Sequence[str]) -> HealthRow:
    """Write the pages of the measured windows and the history page; returns the row of the last measured window."""
    store, reports = installation.store, installation.settings.reports
    history, incidents = store.health(spec.name, spec.monitoring.window), past_incidents(installation, spec)
    now = decide(installation, spec)
    for window in _pages_to_write(history, measured):
        before = [incident for incident in incidents if incident.window <= window]
        verdict = _decision_at(window, now, spec, history, before).verdict
        page = write_window(reports, spec, window, history, before, verdict)
        log.info("%s: %s. %s", window, verdict, page)
    log.info("history: %s", write_history(reports, spec, history, incidents, now.verdict))
    return next(row for row in history if row.window == measured[-1])


def _decision_at(
    window: str, now: Decision, spec: ModelSpec, history: Sequence[HealthRow], incidents: Sequence[Incident]
) -> Decision:
    """The policy's decision for a window: the current one from the judged window on, else as of that window."""
    if now.window is None or window >= now.window:
        return now
    return evaluate_policy(spec, [row for row in history if row.window <= window], incidents)


def _pages_to_write(history: Sequence[HealthRow], measured: Sequence[str]) -> list[str]:
    """The measured windows, and the window before each, whose page links to it."""
    neighbours = [earlier.window for earlier, later in pairwise(history) if later.window in measured]
    return sorted({*measured, *neighbours})


def _columns_for_quality(spec: ModelSpec, predictions: Predictions, live: LiveVersion | None) -> pd.DataFrame:
    """The predictions with the features that slices and the estimator need."""
    estimator = live.reference.estimator if live else None
    dependence = {spec.data.dependence} & set(spec.feature_names)
    needed = sorted({*spec.metrics.slices, *features_needed(estimator), *dependence})
    return predictions.frame.assign(**{name: predictions.feature(name) for name in needed})


def _log_tenths(spec: ModelSpec, window: str) -> Callable[[int, int], None]:
    """Returns a callback that logs progress in steps of a tenth."""
    reported = 0

    def report(done: int, total: int) -> None:
        nonlocal reported
        if (tenths := 10 * done // max(total, 1)) > reported:
            reported = tenths
            log.info("%s %s: counted %d %% of the window", spec.name, window, 10 * tenths)

    return report


def _read(path: Path) -> Any:
    """A JSON file of a bundle; None if the version has none."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged ({error}). Delete its folder to copy it again.") from error
