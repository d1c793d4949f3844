"""What the store knows of every model, as figures for Prometheus: health, verdict, releases, incidents.

The labels are bounded by the specs: models, features, metrics, statuses, the newest 20 versions, releases and
incidents, and the newest 12 windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from include.adapters.store import Store
from include.core.health.policy import evaluate_policy, threshold
from include.core.spec import ModelSpec
from include.core.windows import window_bounds
from include.observability.exposition import Exposition

STATUSES = ("complete", "partial", "waiting", "empty")
ANSWERS = ("pass", "hold", "fail")
LARGEST_VERSIONS = 20
LARGEST_WINDOWS = 12
Health = Mapping[str, Any]


def add_model(page: Exposition, spec: ModelSpec, store: Store) -> None:
    """Add one model's figures to the page."""
    live = store.release(spec.name, "production").champion
    history = store.newest_health(spec.name, max(LARGEST_WINDOWS, spec.degradation.windows))
    _add_limits(page, spec)
    _add_changes(page, spec, store)
    if live:
        page.set("live_version_info", "The version that serves.", 1, model=spec.name, version=str(live))
    if history:
        _add_newest(page, spec, history[-1])
        _add_windows(page, spec, history)
    decision = evaluate_policy(spec, history, store.incidents(spec.name), live_version=live)
    for answer in ANSWERS:
        said = decision.verdict.answer == answer
        page.set("policy_verdict", "1 for what the policy answers now.", said, model=spec.name, answer=answer)
    if decision.window:
        judged = next(row for row in history if row["window"] == decision.window)
        _add_judged(page, spec, judged)


def _add_limits(page: Exposition, spec: ModelSpec) -> None:
    """What the spec allows, so that rules need no figures of their own."""
    deployment, name = spec.deployment, spec.name
    page.set("drop_allowed", "degradation.drop of model.yaml.", spec.degradation.drop, model=name)
    page.set("latency_limit_seconds", "Latency budget of model.yaml.", deployment.latency_p95_ms / 1000, model=name)
    page.set("memory_limit_bytes", "Memory of one server, of model.yaml.", deployment.memory_mb * 2.0**20, model=name)


def _add_changes(page: Exposition, spec: ModelSpec, store: Store) -> None:
    """When what serves changed, and when an incident was opened: marks on dashboards."""
    changes: list[tuple[str, float]] = []
    for row in store.release_history(spec.name):
        champion = row.get("champion")
        if champion and (not changes or changes[-1][0] != str(champion)):
            changes.append((str(champion), row["recorded"]))
    text = "When the version began to serve all traffic (Unix time)."
    for version, recorded in changes[-LARGEST_VERSIONS:]:
        page.set("release_timestamp_seconds", text, recorded, model=spec.name, version=version)
    if changes:
        text = "When the model first served (Unix time)."
        page.set("first_release_timestamp_seconds", text, changes[0][1], model=spec.name)
    for incident in store.incidents(spec.name)[-LARGEST_VERSIONS:]:
        labels = {"model": spec.name, "incident": incident["incident"], "window": incident["window"]}
        text = "When the incident was opened, which starts a retraining (Unix time)."
        page.set("incident_timestamp_seconds", text, incident["recorded"], **labels)


def _add_newest(page: Exposition, spec: ModelSpec, row: Health) -> None:
    name = spec.name
    start, end = window_bounds(row["window"], spec.monitoring.window)
    page.set("health_window_start_timestamp_seconds", "Start of the newest window.", _unix(start), model=name)
    page.set("health_window_end_timestamp_seconds", "End of the newest window.", _unix(end), model=name)
    page.set("health_measured_timestamp_seconds", "When it was measured last.", row["recorded"], model=name)
    for status in STATUSES:
        is_it = row["status"] == status
        page.set("health_status", "1 for the newest window's status.", is_it, model=name, status=status)
    page.set("health_predictions", "Predictions in the newest window.", row["predictions"], model=name)
    page.set("health_truth_share", "Share of them that have truth.", row["truth_share"], model=name)
    for version in row["versions"][-LARGEST_VERSIONS:]:
        for metric, figure in row["by_version"][version].items():
            labels = {"model": name, "version": version, "metric": metric}
            page.set("health_quality", "Metric in the newest window.", figure.get("value"), **labels)
            page.set("health_quality_low", "Lower end of its interval.", figure.get("low"), **labels)
            page.set("health_quality_high", "Upper end of its interval.", figure.get("high"), **labels)
            text = "Predictions with truth, by version."
            page.set("health_rows", text, figure.get("n"), model=name, version=version)
    for metric, value in row["reference"].items():
        page.set("health_reference", "Metric of the live version's holdout.", value, model=name, metric=metric)
    drift = row["drift"]
    for feature, figure in drift["features"].items():
        labels = {"model": name, "feature": feature}
        page.set("health_psi", "Population stability index against the reference.", figure.get("psi"), **labels)
        page.set("health_missing_share", "Share of missing values.", figure.get("missing"), **labels)
        page.set("health_drifted", "1 where the feature has drifted.", feature in drift["drifted"], **labels)
    text = "Population stability index of the predictions."
    page.set("health_prediction_psi", text, drift["prediction"].get("psi"), model=name)
    page.set("health_drifted_features", "How many have drifted.", len(drift["drifted"]), model=name)
    _add_multivariate(page, name, drift.get("multivariate") or {})


def _add_multivariate(page: Exposition, name: str, figure: Mapping[str, Any]) -> None:
    """How well the newest window's rows can be told from the reference's; nothing where that is not known."""
    text = "AUC of telling the window's rows from the reference's (0.5: not at all)."
    page.set("health_multivariate_auc", text, figure.get("auc"), model=name)
    page.set("health_multivariate_limit", "The AUC that chance sets.", figure.get("limit"), model=name)
    if figure.get("status") in ("steady", "drifted"):
        text = "1 where features depend on each other, or are distributed, otherwise than in the reference."
        page.set("health_multivariate_drifted", text, figure["status"] == "drifted", model=name)


def _add_windows(page: Exposition, spec: ModelSpec, history: Sequence[Health]) -> None:
    """The primary metric of the newest windows, and which of them lack truth that is due."""
    name = spec.name
    for row in history[-LARGEST_WINDOWS:]:
        labels = {"model": name, "window": row["window"]}
        page.set("health_window_quality", "Primary metric of the live version, by window.", _primary(row), **labels)
        page.set("health_window_threshold", "Beyond it a window is degraded.", threshold(row, spec), **labels)
        page.set("health_window_truth_share", "Share with truth, by window.", row["truth_share"], **labels)
    text = "Windows, of the newest 12, whose truth is due and not complete."
    overdue = [row for row in history if row.get("due") and row["status"] in ("waiting", "partial")]
    page.set("health_overdue_windows", text, len(overdue), model=name)


def _add_judged(page: Exposition, spec: ModelSpec, row: Health) -> None:
    """The newest window whose truth is due, as the policy saw it."""
    value, reference = _primary(row), row["reference"].get(spec.metrics.primary)
    enough = row["status"] == "complete" and row["rows"] >= spec.monitoring.rows_at_least
    if value is None or reference is None or not enough:
        return
    text = "How much worse than its holdout the live version was in the newest window that can be judged."
    page.set("health_worse_by", text, spec.worse_by(value, reference), model=spec.name)


def _primary(row: Health) -> float | None:
    figures = (row.get("by_version") or {}).get(row.get("live_version") or "", {})
    value = (figures.get(row["metric"]) or {}).get("value")
    return None if value is None else float(value)


def _unix(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()
