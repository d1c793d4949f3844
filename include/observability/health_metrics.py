"""What the store knows of every model, as figures for Prometheus: health, verdict, releases, incidents.

The labels are bounded by the specs: models, features, metrics, statuses, the newest 20 versions, releases and
incidents, and the newest 12 windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import get_args

from include.adapters.store import Store
from include.core.drift.figures import DriftSummary, MultivariateFigure
from include.core.health.policy import Decision, threshold
from include.core.health.record import HealthRow, WindowStatus
from include.core.spec import ModelSpec
from include.core.verdict import Answer
from include.core.windows import window_bounds
from include.observability.exposition import Exposition

LARGEST_VERSIONS = 20
LARGEST_WINDOWS = 12


def add_model(page: Exposition, spec: ModelSpec, store: Store, decision: Decision) -> None:
    """Add one model's figures to the page, with what the policy says now."""
    live = store.release(spec.name, "production").champion
    history = store.newest_health(spec.name, max(LARGEST_WINDOWS, spec.degradation.windows))
    _add_limits(page, spec)
    _add_changes(page, spec, store)
    if live:
        page.set("live_version_info", "The version that serves.", 1, model=spec.name, version=str(live))
    if history:
        _add_newest(page, spec, history[-1])
        _add_windows(page, spec, history)
    for answer in get_args(Answer):
        given = decision.verdict.answer == answer
        page.set("policy_verdict", "1 for what the policy answers now.", given, model=spec.name, answer=answer)
    text = "How much worse than its holdout the live version was in the newest window that can be judged."
    page.set("health_worse_by", text, decision.worse_by, model=spec.name)


def _add_limits(page: Exposition, spec: ModelSpec) -> None:
    """What the spec allows, so that rules need no figures of their own."""
    deployment, name = spec.deployment, spec.name
    page.set("drop_allowed", "degradation.drop of model.yaml.", spec.degradation.drop, model=name)
    page.set("latency_limit_seconds", "Latency budget of model.yaml.", deployment.latency_p95_ms / 1000, model=name)
    page.set("memory_limit_bytes", "Memory of one server, of model.yaml.", deployment.memory_mb * 2.0**20, model=name)


def _add_changes(page: Exposition, spec: ModelSpec, store: Store) -> None:
    """When what serves changed, and when an incident was opened: marks on dashboards."""
    changes: list[tuple[str, float]] = []
    for revision in store.release_history(spec.name):
        champion = revision.release.champion
        if champion and (not changes or changes[-1][0] != champion):
            changes.append((champion, revision.recorded))
    text = "When the version began to serve all traffic (Unix time)."
    for version, recorded in changes[-LARGEST_VERSIONS:]:
        page.set("release_timestamp_seconds", text, recorded, model=spec.name, version=version)
    if changes:
        text = "When the model first served (Unix time)."
        page.set("first_release_timestamp_seconds", text, changes[0][1], model=spec.name)
    for incident in store.incidents(spec.name)[-LARGEST_VERSIONS:]:
        labels = {"model": spec.name, "incident": incident.key, "window": incident.window}
        text = "When the incident was opened, which starts a retraining (Unix time)."
        page.set("incident_timestamp_seconds", text, incident.recorded, **labels)


def _add_newest(page: Exposition, spec: ModelSpec, row: HealthRow) -> None:
    name = spec.name
    start, end = window_bounds(row.window, spec.monitoring.window)
    page.set("health_window_start_timestamp_seconds", "Start of the newest window.", _unix(start), model=name)
    page.set("health_window_end_timestamp_seconds", "End of the newest window.", _unix(end), model=name)
    page.set("health_measured_timestamp_seconds", "When it was measured last.", row.recorded, model=name)
    for status in get_args(WindowStatus):
        text = "1 for the newest window's status."
        page.set("health_status", text, row.status == status, model=name, status=status)
    page.set("health_predictions", "Predictions in the newest window.", row.predictions, model=name)
    page.set("health_truth_share", "Share of them that have truth.", row.truth_share, model=name)
    _add_quality(page, name, row)
    _add_drift(page, name, row.drift)
    _add_multivariate(page, name, row.drift.multivariate)


def _add_quality(page: Exposition, name: str, row: HealthRow) -> None:
    """Each metric of each version in the newest window, and the live version's reference."""
    for version in row.versions[-LARGEST_VERSIONS:]:
        for metric, figure in row.by_version[version].items():
            labels = {"model": name, "version": version, "metric": metric}
            page.set("health_quality", "Metric in the newest window.", figure.value, **labels)
            page.set("health_quality_low", "Lower end of its interval.", figure.low, **labels)
            page.set("health_quality_high", "Upper end of its interval.", figure.high, **labels)
            text = "Predictions with truth, by version."
            page.set("health_rows", text, figure.n, model=name, version=version)
    for metric, value in row.reference.items():
        page.set("health_reference", "Metric of the live version's holdout.", value, model=name, metric=metric)


def _add_drift(page: Exposition, name: str, drift: DriftSummary) -> None:
    """Drift of each feature and of the prediction in the newest window."""
    for feature, figure in drift.features.items():
        labels = {"model": name, "feature": feature}
        page.set("health_psi", "Population stability index against the reference.", figure.psi, **labels)
        page.set("health_missing_share", "Share of missing values.", figure.missing, **labels)
        page.set("health_drifted", "1 where the feature has drifted.", feature in drift.drifted, **labels)
    text = "Population stability index of the predictions."
    page.set("health_prediction_psi", text, drift.prediction.psi, model=name)
    page.set("health_drifted_features", "How many have drifted.", len(drift.drifted), model=name)


def _add_multivariate(page: Exposition, name: str, figure: MultivariateFigure) -> None:
    """How well the newest window's rows can be told from the reference's; nothing where that is not known."""
    text = "AUC of telling the window's rows from the reference's (0.5: not at all)."
    page.set("health_multivariate_auc", text, figure.auc, model=name)
    page.set("health_multivariate_limit", "The AUC that chance sets.", figure.limit, model=name)
    if figure.judged:
        text = "1 where features depend on each other, or are distributed, otherwise than in the reference."
        page.set("health_multivariate_drifted", text, figure.status == "drifted", model=name)


def _add_windows(page: Exposition, spec: ModelSpec, history: Sequence[HealthRow]) -> None:
    """The primary metric of the newest windows, and which of them lack truth that is due."""
    name = spec.name
    for row in history[-LARGEST_WINDOWS:]:
        labels = {"model": name, "window": row.window}
        figure = row.live_figure(row.metric)
        text = "Primary metric of the live version, by window."
        page.set("health_window_quality", text, figure.value if figure else None, **labels)
        page.set("health_window_threshold", "Beyond it a window is degraded.", threshold(row, spec), **labels)
        page.set("health_window_truth_share", "Share with truth, by window.", row.truth_share, **labels)
    text = "Windows, of the newest 12, whose truth is due and not complete."
    overdue = [row for row in history if row.due and row.status in ("waiting", "partial")]
    page.set("health_overdue_windows", text, len(overdue), model=name)


def _unix(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()
