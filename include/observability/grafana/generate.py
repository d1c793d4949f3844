"""Generates the four dashboards for Grafana's provisioning: ``python -m include.observability.grafana.generate``.

Part of ``make docs``. One test compares the committed files with this code, another runs each query against a real
Prometheus. grafana-foundation-sdk is a development dependency, so nothing else may import this module.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from include.observability.grafana.panels import (
    HALF,
    THIRD,
    WIDE,
    Column,
    annotation,
    bars,
    figure,
    lines,
    new_dashboard,
    one_table,
    variable,
)

FOLDER = Path(__file__).parent / "dashboards"


def models() -> dashboard.Dashboard:
    """All models on one screen."""
    columns: dict[str, Column] = {
        "Live version": ("max by (model, version) (evergreen_live_version_info)", "version"),
        "Policy": ("max by (model, answer) (evergreen_policy_verdict == 1)", "answer"),
        "Newest window": ("max by (model, status) (evergreen_health_status == 1)", "status"),
        "Drop from reference": ("max by (model) (evergreen_health_worse_by)", ""),
        "Drop that counts": ("max by (model) (evergreen_health_worse_by_limit)", ""),
        "Share with ground truth": ("max by (model) (evergreen_health_truth_share)", ""),
        "Windows without ground truth": ("max by (model) (evergreen_health_overdue_windows)", ""),
        "Drifted features": ("max by (model) (evergreen_health_drifted_features)", ""),
        "Requests per second": ('sum by (model) (evergreen:requests:rate5m{environment="production"})', ""),
        "Failed pipelines": ("sum by (model) (evergreen_dag_last_run_failed)", ""),
    }
    return (
        new_dashboard("Models", "All models: live versions, quality, and what needs attention.")
        .with_panel(one_table("All models", columns, height=9))
        .with_panel(
            lines(
                "Drop beyond what is allowed and what chance explains",
                "Above 0, the model is degraded. In units of its primary metric.",
                HALF,
                ("evergreen:health:excess", "{{model}}"),
            )
        )
        .with_panel(
            lines(
                "Requests",
                "Prediction requests per second in production.",
                HALF,
                ('sum by (model) (evergreen:requests:rate5m{environment="production"})', "{{model}}"),
                unit="reqps",
            )
        )
        .with_panel(
            lines(
                "Drifted features",
                "Number of features and predictions beyond their drift threshold.",
                HALF,
                ("evergreen_health_drifted_features", "{{model}}"),
            )
        )
        .with_panel(
            lines(
                "Firing alerts",
                "By name. Each alert has a runbook in docs/runbooks.",
                HALF,
                ('count by (alertname) (ALERTS{alertstate="firing"}) or vector(0)', "{{alertname}}"),
            )
        )
    )


def model() -> dashboard.Dashboard:
    """One model in detail."""
    of = '{model="$model"}'
    windows: dict[str, Column] = {
        "Metric": (f"max by (window) (evergreen_health_window_quality{of})", ""),
        "Degradation threshold": (f"max by (window) (evergreen_health_window_threshold{of})", ""),
    }
    board = new_dashboard("Model", "One model: quality, drift and service, with releases and retrainings annotated.")
    board = (
        board.with_variable(variable("model", "label_values(evergreen_drop_allowed, model)"))
        .annotation(
            annotation("Releases", f"evergreen_release_timestamp_seconds{of} * 1000", "version {{version}}", "green")
        )
        .annotation(
            annotation("Retrainings", f"evergreen_incident_timestamp_seconds{of} * 1000", "{{incident}}", "orange")
        )
        .with_panel(figure("Live version", f"evergreen_live_version_info{of}", "{{version}}", name=True))
        .with_panel(figure("Policy", f"evergreen_policy_verdict{of} == 1", "{{answer}}", name=True))
        .with_panel(figure("Newest window", f"evergreen_health_status{of} == 1", "{{status}}", name=True))
        .with_panel(figure("Predictions in window", f"evergreen_health_predictions{of}", ""))
        .with_panel(figure("With ground truth", f"evergreen_health_truth_share{of}", "", unit="percentunit"))
        .with_panel(figure("Drifted features", f"evergreen_health_drifted_features{of}", "", red=1))
        .with_panel(bars("Primary metric by window", "window", windows))
        .with_panel(
            lines(
                "Quality in the newest window",
                "Each metric of each version with its confidence interval, and the live version's on its holdout.",
                WIDE,
                (f"evergreen_health_quality{of}", "{{metric}} of {{version}}"),
                (f"evergreen_health_quality_low{of}", "{{metric}} of {{version}}, low"),
                (f"evergreen_health_quality_high{of}", "{{metric}} of {{version}}, high"),
                (f"evergreen_health_reference{of}", "{{metric}} on the holdout"),
            )
        )
    )
    return (
        board.with_panel(
            lines(
                "Drift by feature",
                "Population stability index (PSI) against the live version's reference.",
                THIRD,
                (f"evergreen_health_psi{of}", "{{feature}}"),
                (f"evergreen_health_prediction_psi{of}", "prediction"),
            )
        )
        .with_panel(
            lines(
                "Missing values by feature",
                "Share of rows in the newest window.",
                THIRD,
                (f"evergreen_health_missing_share{of}", "{{feature}}"),
                unit="percentunit",
            )
        )
        .with_panel(
            lines(
                "Drift of all features together",
                "AUC of a classifier that tells the newest window from the reference (0.5: no drift), and its limit.",
                THIRD,
                (f"evergreen_health_multivariate_auc{of}", "AUC"),
                (f"evergreen_health_multivariate_limit{of}", "limit"),
            )
        )
        .with_panel(
            lines(
                "Requests by version",
                "Per second, in production. A rollout shifts them step by step.",
                HALF,
                (
                    'sum by (version) (evergreen:requests:rate5m{model="$model", environment="production"})',
                    "version {{version}}",
                ),
                unit="reqps",
            )
        )
        .with_panel(
            lines(
                "Predictions by version",
                "Median prediction over five minutes.",
                HALF,
                (
                    'histogram_quantile(0.5, sum by (version, le) (rate(evergreen_prediction_bucket{model="$model", '
                    'environment="production"}[5m])))',
                    "version {{version}}",
                ),
            )
        )
    )


def serving() -> dashboard.Dashboard:
    """The gateway and the model servers."""
    seconds = "sum by (model, version, le) (rate(evergreen_request_seconds_bucket[5m]))"
    gateway = 'caddy_http_request_duration_seconds_count{server="gateway"}'
    who = "{{model}} {{version}}"
    return (
        new_dashboard("Serving", "The gateway and the model servers: requests, errors, latency, saturation.")
        .with_panel(
            lines(
                "Requests by status",
                "Per second, as counted by the model servers.",
                HALF,
                ("sum by (model, version, code) (evergreen:requests:rate5m)", who + " {{code}}"),
                unit="reqps",
            )
        )
        .with_panel(
            lines(
                "Errors",
                "Share of requests answered with 5xx.",
                HALF,
                ("evergreen:request_errors:ratio5m", who),
                unit="percentunit",
            )
        )
        .with_panel(
            lines(
                "Latency",
                "Median and 95th percentile.",
                HALF,
                (f"histogram_quantile(0.5, {seconds})", who + " p50"),
                (f"histogram_quantile(0.95, {seconds})", who + " p95"),
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Rows",
                "Predicted rows per second.",
                HALF,
                ("sum by (model, version) (rate(evergreen_rows_total[5m]))", who),
            )
        )
        .with_panel(
            lines(
                "CPU",
                "Share of one CPU core, by server.",
                THIRD,
                ("evergreen:server_cpu:rate5m", who),
                unit="percentunit",
            )
        )
        .with_panel(
            lines(
                "Memory",
                "Share of deployment.memory_mb, by server.",
                THIRD,
                ("evergreen:server_memory:ratio", who),
                unit="percentunit",
            )
        )
        .with_panel(lines("Up", "1 if Prometheus can scrape the target.", THIRD, ("up", "{{job}} {{instance}}")))
        .with_panel(
            lines(
                "Gateway responses",
                "Per second, by status, as clients see them.",
                HALF,
                (f"sum by (code) (rate({gateway}[5m]))", "{{code}}"),
                unit="reqps",
            )
        )
        .with_panel(
            lines(
                "Missing values in requests",
                "Per second, by feature.",
                HALF,
                ("sum by (model, feature) (rate(evergreen_missing_values_total[5m]))", "{{model}} {{feature}}"),
            )
        )
    )


def pipelines() -> dashboard.Dashboard:
    """The Dags and Airflow's own components."""
    newest: dict[str, Column] = {"Failed": ("max by (model, stage, run_url) (evergreen_dag_last_run_failed)", "")}
    who = "{{model}}.{{stage}}"
    return (
        new_dashboard("Pipelines", "The Dags of every model, and Airflow itself.")
        .with_panel(one_table("Last finished run of each Dag", newest, height=10))
        .with_panel(
            lines(
                "Time since the last success",
                "A Dag that has not succeeded lately has a problem, even if its servers are healthy.",
                HALF,
                ("time() - evergreen_dag_last_success_timestamp_seconds", who),
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Unfinished runs",
                "Age of the oldest queued or running run. For ci, this shows the queue.",
                HALF,
                ("evergreen_dag_oldest_open_seconds", who),
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Duration of the last finished run",
                "",
                HALF,
                ("evergreen_dag_last_run_seconds", who),
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Runs by state",
                "Unfinished runs, and runs that finished within the last day.",
                HALF,
                ("sum by (model, state) (evergreen_dag_runs)", "{{model}} {{state}}"),
            )
        )
        .with_panel(lines("Tasks by state", "Of all Dags.", HALF, ("evergreen_airflow_tasks", "{{state}}")))
        .with_panel(
            lines(
                "Airflow components",
                "Time since the last heartbeat.",
                HALF,
                ("time() - evergreen_airflow_heartbeat_timestamp_seconds", "{{component}}"),
                unit="s",
            )
        )
    )


DASHBOARDS: dict[str, Callable[[], dashboard.Dashboard]] = {
    "models": models,
    "model": model,
    "serving": serving,
    "pipelines": pipelines,
}


def rendered(name: str) -> str:
    """One dashboard as JSON."""
    return json.dumps(DASHBOARDS[name]().build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write all dashboards as JSON."""
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(rendered(name), encoding="utf-8")


if __name__ == "__main__":
    main()
