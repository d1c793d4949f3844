"""Writes the four dashboards as Grafana provisions them: ``python -m include.observability.grafana.generate``.

Part of ``make docs``; a test holds the committed files against this code, another runs each query against a real
Prometheus. grafana-foundation-sdk is a development dependency: nothing else imports this module.
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
    bars,
    figure,
    lines,
    marks,
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
        "Worse than its holdout by": ("max by (model) (evergreen_health_worse_by)", ""),
        "Allowed": ("max by (model) (evergreen_drop_allowed)", ""),
        "Share with truth": ("max by (model) (evergreen_health_truth_share)", ""),
        "Windows without truth": ("max by (model) (evergreen_health_overdue_windows)", ""),
        "Drifted features": ("max by (model) (evergreen_health_drifted_features)", ""),
        "Requests a second": ('sum by (model) (evergreen:requests:rate5m{environment="production"})', ""),
        "Failed pipelines": ("sum by (model) (evergreen_dag_last_run_failed)", ""),
    }
    return (
        new_dashboard("Models", "All models: what serves, how good it is, and what waits for somebody.")
        .with_panel(one_table("All models", columns, height=9))
        .with_panel(
            lines(
                "Worse than its holdout, less what is allowed",
                "Above 0 a model is degraded. In units of its primary metric.",
                HALF,
                ("evergreen:health:excess", "{{model}}"),
            )
        )
        .with_panel(
            lines(
                "Requests",
                "Prediction requests a second, in production.",
                HALF,
                ('sum by (model) (evergreen:requests:rate5m{environment="production"})', "{{model}}"),
                unit="reqps",
            )
        )
        .with_panel(
            lines(
                "Drifted features",
                "Features and predictions beyond the drift threshold.",
                HALF,
                ("evergreen_health_drifted_features", "{{model}}"),
            )
        )
        .with_panel(
            lines(
                "Firing alerts",
                "By name; each has a runbook in docs/runbooks.",
                HALF,
                ('count by (alertname) (ALERTS{alertstate="firing"}) or vector(0)', "{{alertname}}"),
            )
        )
    )


def model() -> dashboard.Dashboard:
    """One model in depth."""
    of = '{model="$model"}'
    windows: dict[str, Column] = {
        "Metric": (f"max by (window) (evergreen_health_window_quality{of})", ""),
        "Degraded beyond": (f"max by (window) (evergreen_health_window_threshold{of})", ""),
    }
    found = new_dashboard("Model", "One model: quality, drift and service, with its releases and retrainings as marks.")
    found = (
        found.with_variable(variable("model", "label_values(evergreen_drop_allowed, model)"))
        .annotation(
            marks("Releases", f"evergreen_release_timestamp_seconds{of} * 1000", "version {{version}}", "green")
        )
        .annotation(marks("Retrainings", f"evergreen_incident_timestamp_seconds{of} * 1000", "{{incident}}", "orange"))
        .with_panel(figure("Live version", f"evergreen_live_version_info{of}", "{{version}}", name=True))
        .with_panel(figure("Policy", f"evergreen_policy_verdict{of} == 1", "{{answer}}", name=True))
        .with_panel(figure("Newest window", f"evergreen_health_status{of} == 1", "{{status}}", name=True))
        .with_panel(figure("Its predictions", f"evergreen_health_predictions{of}", ""))
        .with_panel(figure("Its truth", f"evergreen_health_truth_share{of}", "", unit="percentunit"))
        .with_panel(figure("Drifted features", f"evergreen_health_drifted_features{of}", "", red=1))
        .with_panel(bars("Primary metric by window", "window", windows))
        .with_panel(
            lines(
                "Quality in the newest window",
                "Each metric of each version with its interval, and the live version on its holdout.",
                WIDE,
                (f"evergreen_health_quality{of}", "{{metric}} of {{version}}"),
                (f"evergreen_health_quality_low{of}", "{{metric}} of {{version}}, low"),
                (f"evergreen_health_quality_high{of}", "{{metric}} of {{version}}, high"),
                (f"evergreen_health_reference{of}", "{{metric}} on the holdout"),
            )
        )
    )
    return (
        found.with_panel(
            lines(
                "Drift by feature",
                "Population stability index against the live version's reference.",
                THIRD,
                (f"evergreen_health_psi{of}", "{{feature}}"),
                (f"evergreen_health_prediction_psi{of}", "prediction"),
            )
        )
        .with_panel(
            lines(
                "Missing values by feature",
                "Share of the newest window.",
                THIRD,
                (f"evergreen_health_missing_share{of}", "{{feature}}"),
                unit="percentunit",
            )
        )
        .with_panel(
            lines(
                "Drift of all features together",
                "AUC of telling the newest window's rows from the reference's (0.5: not at all); what chance allows.",
                THIRD,
                (f"evergreen_health_multivariate_auc{of}", "AUC"),
                (f"evergreen_health_multivariate_limit{of}", "limit"),
            )
        )
        .with_panel(
            lines(
                "Requests by version",
                "A second, in production: a rollout moves them step by step.",
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
                "Median of what was predicted in five minutes.",
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
                "A second, as model servers count them.",
                HALF,
                ("sum by (model, version, code) (evergreen:requests:rate5m)", who + " {{code}}"),
                unit="reqps",
            )
        )
        .with_panel(
            lines(
                "Errors",
                "Share answered with 5xx.",
                HALF,
                ("evergreen:request_errors:ratio5m", who),
                unit="percentunit",
            )
        )
        .with_panel(
            lines(
                "Latency",
                "Half and one in twenty requests take longer.",
                HALF,
                (f"histogram_quantile(0.5, {seconds})", who + " p50"),
                (f"histogram_quantile(0.95, {seconds})", who + " p95"),
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Rows",
                "Rows predicted a second.",
                HALF,
                ("sum by (model, version) (rate(evergreen_rows_total[5m]))", who),
            )
        )
        .with_panel(
            lines(
                "Processor",
                "Of one processor, by server.",
                THIRD,
                ("evergreen:server_cpu:rate5m", who),
                unit="percentunit",
            )
        )
        .with_panel(
            lines(
                "Memory",
                "Of deployment.memory_mb, by server.",
                THIRD,
                ("evergreen:server_memory:ratio", who),
                unit="percentunit",
            )
        )
        .with_panel(lines("Up", "1 where Prometheus gets metrics.", THIRD, ("up", "{{job}} {{instance}}")))
        .with_panel(
            lines(
                "The gateway's answers",
                "A second, by status: what clients see.",
                HALF,
                (f"sum by (code) (rate({gateway}[5m]))", "{{code}}"),
                unit="reqps",
            )
        )
        .with_panel(
            lines(
                "Missing values in requests",
                "A second, by feature.",
                HALF,
                ("sum by (model, feature) (rate(evergreen_missing_values_total[5m]))", "{{model}} {{feature}}"),
            )
        )
    )


def pipelines() -> dashboard.Dashboard:
    """The DAGs, and Airflow's own parts."""
    newest: dict[str, Column] = {"Failed": ("max by (model, story, run_url) (evergreen_dag_last_run_failed)", "")}
    who = "{{model}}.{{story}}"
    return (
        new_dashboard("Pipelines", "The DAGs of every model, and Airflow itself.")
        .with_panel(one_table("Newest run of each DAG that has ended", newest, height=10))
        .with_panel(
            lines(
                "Time since the last success",
                "A DAG that has not succeeded lately is not well, whatever its endpoint says.",
                HALF,
                ("time() - evergreen_dag_last_success_timestamp_seconds", who),
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Open runs",
                "Age of the oldest run that waits or works; for ci, this is its queue.",
                HALF,
                ("evergreen_dag_oldest_open_seconds", who),
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Duration of the newest run",
                "",
                HALF,
                ("evergreen_dag_last_run_seconds", who),
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Runs of a day by state",
                "",
                HALF,
                ("sum by (model, state) (evergreen_dag_runs)", "{{model}} {{state}}"),
            )
        )
        .with_panel(lines("Tasks by state", "Of all DAGs.", HALF, ("evergreen_airflow_tasks", "{{state}}")))
        .with_panel(
            lines(
                "Airflow's parts",
                "Time since each has reported.",
                HALF,
                ("time() - evergreen_airflow_heartbeat_timestamp_seconds", "{{part}}"),
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
    """The JSON of one dashboard."""
    return json.dumps(DASHBOARDS[name]().build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write the JSON of every dashboard."""
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(rendered(name), encoding="utf-8")


if __name__ == "__main__":
    main()
