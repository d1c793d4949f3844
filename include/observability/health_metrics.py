"""Metrics for Prometheus about every model, from the store: health, verdict, releases, incidents.

The labels are bounded by the specs: models, features, metrics, statuses, the newest 20 versions, releases and
incidents, and the newest 12 windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import get_args

from include.adapters.store import Store
from include.core.drift.figures import DriftSummary, MultivariateFigure
from include.core.health.degradation import threshold
from include.core.health.drift_alert import drift_alert
from include.core.health.policy import Decision
from include.core.health.record import HealthRow, WindowStatus
from include.core.retention import DISK_ALERT, DISK_FULL
from include.core.spec import ModelSpec
from include.core.verdict import Answer
from include.core.windows import window_bounds
from include.observability.exposition import Exposition

MAX_VERSIONS = 20
MAX_WINDOWS = 12


def add_model(page: Exposition, spec: ModelSpec, store: Store, decision: Decision) -> None:
    """Add one model's metrics to the page, including the policy's current verdict."""
    live = store.release(spec.name, "production").champion
    needed = max(MAX_WINDOWS, spec.degradation.windows, spec.monitoring.drift_windows)
    history = store.newest_health(spec.name, needed, grain=spec.monitoring.window)
    _add_limits(page, spec, history[-1] if history else None)
    _add_changes(page, spec, store)
    if live:
        page.set(
            "live_version_info",
            "The version that serves production traffic (always 1).",
            1,
            model=spec.name,
            version=str(live),
        )
    if history:
        _add_newest(page, spec, history[-1])
        text = "1 if enough of the newest windows have drifted to say so (monitoring.drift_breaches in model.yaml)."
        page.set("health_drift_alert", text, drift_alert(spec, history), model=spec.name)
        _add_windows(page, spec, history)
    for answer in get_args(Answer):
        current = decision.verdict.answer == answer
        page.set("policy_verdict", "1 for the policy's current answer.", current, model=spec.name, answer=answer)
    text = "Drop of the live version's primary metric from its reference, in the newest windows."
    page.set("health_worse_by", text, decision.worse_by, model=spec.name)
    text = "What this drop must exceed to be degradation: the allowed drop, or what chance explains."
    page.set("health_worse_by_limit", text, decision.limit, model=spec.name)


def add_disk(page: Exposition, share: float) -> None:
    """Add how full the disk is (0 to 1), and from where no training begins."""
    page.set("disk_used_share", "Share of the installation's disk that is used.", share)
    page.set("disk_full_share", "Share of the disk from which no training begins.", DISK_FULL)
    page.set("disk_alert_share", "Share of the disk from which there is an alert.", DISK_ALERT)


def _add_limits(page: Exposition, spec: ModelSpec, newest: HealthRow | None) -> None:
    """Add the spec's limits, so that alert rules need no thresholds of their own.

    A drop that is a percentage is one of the reference of the newest window's live version.
    """
    deployment, name, drop = spec.deployment, spec.name, spec.degradation.drop
    reference = newest.reference.get(spec.metrics.primary) if newest else None
    known = reference is not None or not isinstance(drop, str)
    budget = deployment.latency_p95_ms
    page.set(
        "drop_allowed",
        "Allowed drop of the primary metric, in its units (degradation.drop in model.yaml).",
        spec.degradation.allowed(reference or 0.0) if known else None,
        model=name,
    )
    page.set(
        "latency_limit_seconds",
        "Latency budget (deployment.latency_p95_ms in model.yaml).",
        None if budget is None else budget / 1000,
        model=name,
    )
    page.set(
        "memory_limit_bytes",
        "Memory limit of one server (deployment.memory_mb in model.yaml).",
        deployment.memory_mb * 2.0**20,
        model=name,
    )


def _add_changes(page: Exposition, spec: ModelSpec, store: Store) -> None:
    """Add the times of releases and incidents, which dashboards show as annotations."""
    changes: list[tuple[str, float]] = []
    for revision in store.release_history(spec.name):
        champion = revision.release.champion
        if champion and (not changes or changes[-1][0] != champion):
            changes.append((champion, revision.recorded))
    text = "Time at which the version began to serve all traffic (Unix time)."
    for version, recorded in changes[-MAX_VERSIONS:]:
        page.set("release_timestamp_seconds", text, recorded, model=spec.name, version=version)
    if changes:
        text = "Time of the model's first release (Unix time)."
        page.set("first_release_timestamp_seconds", text, changes[0][1], model=spec.name)
    for incident in store.incidents(spec.name)[-MAX_VERSIONS:]:
        labels = {"model": spec.name, "incident": incident.key, "window": incident.window}
        text = "Time at which the incident was opened, which starts a retraining (Unix time)."
        page.set("incident_timestamp_seconds", text, incident.recorded, **labels)


def _add_newest(page: Exposition, spec: ModelSpec, row: HealthRow) -> None:
    name = spec.name
    start, end = window_bounds(row.window, spec.monitoring.window)
    page.set(
        "health_window_start_timestamp_seconds", "Start of the newest window (Unix time).", _unix(start), model=name
    )
    page.set("health_window_end_timestamp_seconds", "End of the newest window (Unix time).", _unix(end), model=name)
    page.set("health_measured_timestamp_seconds", "Time of its last measurement (Unix time).", row.recorded, model=name)
    for status in get_args(WindowStatus):
        text = "1 for the status of the newest window."
        page.set("health_status", text, row.status == status, model=name, status=status)
    page.set("health_predictions", "Predictions in the newest window.", row.predictions, model=name)
    page.set("health_truth_share", "Share of these predictions with ground truth.", row.truth_share, model=name)
    _add_quality(page, name, row)
    _add_drift(page, name, row.drift)
    _add_multivariate(page, name, row.drift.multivariate)


def _add_quality(page: Exposition, name: str, row: HealthRow) -> None:
    """Add each metric of each version in the newest window, and the live version's reference."""
    for version in row.versions[-MAX_VERSIONS:]:
        for metric, figure in row.by_version[version].items():
            labels = {"model": name, "version": version, "metric": metric}
            page.set("health_quality", "Metric value in the newest window.", figure.value, **labels)
            page.set("health_quality_low", "Lower bound of its confidence interval.", figure.low, **labels)
            page.set("health_quality_high", "Upper bound of its confidence interval.", figure.high, **labels)
            text = "Predictions with ground truth, by version."
            page.set("health_rows", text, figure.n, model=name, version=version)
    for metric, value in row.reference.items():
        page.set(
            "health_reference", "Metric value of the live version on its holdout.", value, model=name, metric=metric
        )


def _add_drift(page: Exposition, name: str, drift: DriftSummary) -> None:
    """Add the drift of each feature and of the prediction in the newest window."""
    for feature, figure in drift.features.items():
        labels = {"model": name, "feature": feature}
        page.set("health_psi", "Population stability index (PSI) against the reference.", figure.psi, **labels)
        page.set("health_missing_share", "Share of missing values.", figure.missing, **labels)
        page.set("health_drifted", "1 if the feature has drifted.", feature in drift.drifted, **labels)
    text = "Population stability index (PSI) of the predictions."
    page.set("health_prediction_psi", text, drift.prediction.psi, model=name)
    page.set("health_drifted_features", "Number of drifted features and predictions.", len(drift.drifted), model=name)


def _add_multivariate(page: Exposition, name: str, figure: MultivariateFigure) -> None:
    """Add how well a classifier separates the newest window from the reference; nothing if unknown."""
    text = "AUC of a classifier that tells the window's rows from the reference's (0.5: no drift)."
    page.set("health_multivariate_auc", text, figure.auc, model=name)
    page.set("health_multivariate_limit", "AUC up to which the difference may be chance.", figure.limit, model=name)
    if figure.judged:
        text = "1 if the joint distribution of the features has drifted from the reference."
        page.set("health_multivariate_drifted", text, figure.status == "drifted", model=name)


def _add_windows(page: Exposition, spec: ModelSpec, history: Sequence[HealthRow]) -> None:
    """Add the primary metric of the newest windows, and how many of them lack ground truth that is due."""
    name = spec.name
    for row in history[-MAX_WINDOWS:]:
        labels = {"model": name, "window": row.window}
        figure = row.live_figure(row.metric)
        text = "Primary metric of the live version, by window."
        page.set("health_window_quality", text, figure.value if figure else None, **labels)
        page.set(
            "health_window_threshold", "Threshold beyond which a window is degraded.", threshold(row, spec), **labels
        )
        page.set(
            "health_window_truth_share", "Share of predictions with ground truth, by window.", row.truth_share, **labels
        )
    text = "Number of the newest 12 windows whose ground truth is due but incomplete."
    overdue = [row for row in history if row.due and row.status in ("waiting", "partial")]
    page.set("health_overdue_windows", text, len(overdue), model=name)


def _unix(time: datetime) -> float:
    return time.replace(tzinfo=UTC).timestamp()
