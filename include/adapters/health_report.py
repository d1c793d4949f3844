"""Health for people and for Prometheus: one self-contained HTML page a window, and one metrics file a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from include.adapters.lake import write_atomically
from include.core.policy import threshold
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.core.windows import window_bounds
from include.settings import settings

STATUSES = ("complete", "partial", "waiting", "empty")
LARGEST_VERSIONS = 20
CHART = (760.0, 240.0, 54.0, 28.0)
"""Width, height, left and bottom margin of the history chart, in SVG units."""

Health = Mapping[str, Any]


def report_path(model: str, window: str) -> Path:
    """Where the window's page is; its health JSON stands beside it."""
    return settings().reports / model / f"{window}.html"


def write_report(
    spec: ModelSpec,
    window: str,
    history: Sequence[Health],
    incidents: Sequence[Mapping[str, Any]],
    verdict: Verdict,
) -> Path:
    """Write the page and the JSON of one window of ``history`` (oldest first); returns the page's path."""
    path = report_path(spec.name, window)
    row = next(row for row in history if row["window"] == window)
    write_atomically(path.with_suffix(".json"), json.dumps(row, indent=1).encode())
    write_atomically(path, render(spec, row, history, incidents, verdict).encode())
    return path


def render(
    spec: ModelSpec,
    row: Health,
    history: Sequence[Health],
    incidents: Sequence[Mapping[str, Any]],
    verdict: Verdict,
) -> str:
    """The page as text. It needs no network; every value is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(default=True), trim_blocks=True
    )
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.4g}"
    environment.filters["share"] = lambda value: "–" if value is None else f"{100 * value:.1f} %"
    drifted = sorted(row["drift"]["features"].items(), key=lambda item: -(item[1]["psi"] or 0))
    return environment.get_template("health_report.html.j2").render(
        spec=spec,
        row=row,
        verdict=verdict,
        metrics=list(dict.fromkeys([spec.metrics.primary, *spec.metrics.also])),
        drift=[*drifted, ("prediction", {**row["drift"]["prediction"], "missing": None, "reference_missing": None})],
        chart=history_chart(spec, history, incidents),
        incidents=[incident for incident in incidents if incident["window"] == row["window"]],
    )


def history_chart(
    spec: ModelSpec, history: Sequence[Health], incidents: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Positions of the primary metric over the windows, its interval, threshold, releases and incidents."""
    metric = spec.metrics.primary
    points: list[tuple[Health, Mapping[str, Any], float | None]] = []
    for row in history:
        figure = (row.get("by_version") or {}).get(row.get("live_version") or "", {}).get(metric) or {}
        points.append((row, figure, threshold(row, spec)))
    shown = [v for _, f, limit in points for v in (f.get("value"), f.get("low"), f.get("high"), limit)]
    known = [float(value) for value in shown if value is not None]
    if not known:
        return None
    width, height, left, bottom = CHART
    low, high = min(known), max(known)
    room = (high - low) * 0.1 or abs(high) * 0.1 or 1.0
    low, high = low - room, high + room
    step = (width - left - 20) / max(len(points), 1)

    def y(value: float | None) -> float | None:
        return None if value is None else round(10 + (high - value) / (high - low) * (height - bottom - 10), 1)

    opened = {incident["window"] for incident in incidents}
    columns: list[dict[str, Any]] = []
    before = None
    for index, (row, figure, limit) in enumerate(points):
        version = row.get("live_version")
        columns.append(
            {
                "x": round(left + step * (index + 0.5), 1),
                "half": round(step / 2, 1),
                "window": row["window"],
                "y": y(figure.get("value")),
                "top": y(figure.get("high")),
                "low": y(figure.get("low")),
                "limit": y(limit),
                "release": version if version and version != before else None,
                "incident": row["window"] in opened,
                "text": f"{row['window']}: {_text(figure)}, version {version or '–'}, {row.get('status')}",
            }
        )
        before = version or before
    every = max(1, -(-len(columns) // 12))
    ticks = [low + (high - low) * share for share in (0.1, 0.5, 0.9)]
    return {
        "width": width,
        "height": height,
        "left": left,
        "floor": height - bottom,
        "columns": columns,
        "every": every,
        "line": " ".join(f"{c['x']},{c['y']}" for c in columns if c["y"] is not None),
        "ticks": [{"y": y(tick), "text": f"{tick:.3g}"} for tick in ticks],
    }


def write_metrics(spec: ModelSpec, history: Sequence[Health], folder: Path | None = None) -> Path:
    """Write the newest window's health as ``metrics/<model>.prom`` in Prometheus' text format.

    Labels are bounded: the model, its features, the spec's metrics, the statuses, and at most 20 versions.
    """
    folder = folder or settings().reports / "metrics"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{spec.name}.prom"
    registry = CollectorRegistry()
    if history:
        _fill(registry, spec, history[-1])
    write_to_textfile(str(path), registry)
    return path


def _fill(registry: CollectorRegistry, spec: ModelSpec, row: Health) -> None:
    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"evergreen_health_{name}", text, ["model", *labels], registry=registry)

    start, _ = window_bounds(row["window"], spec.monitoring.window)
    begins = gauge("window_start_timestamp_seconds", "Start of the newest measured window (Unix time).")
    begins.labels(spec.name).set(start.replace(tzinfo=UTC).timestamp())
    status = gauge("status", "1 for the newest window's status, 0 for the others.", "status")
    for name in STATUSES:
        status.labels(spec.name, name).set(row["status"] == name)
    gauge("predictions", "Predictions in the newest window.").labels(spec.name).set(row["predictions"])
    gauge("truth_share", "Share of its predictions that have truth.").labels(spec.name).set(row["truth_share"])
    quality = gauge("quality", "Metric of a version in the newest window.", "version", "metric")
    low = gauge("quality_low", "Lower end of the metric's interval.", "version", "metric")
    high = gauge("quality_high", "Upper end of the metric's interval.", "version", "metric")
    rows = gauge("rows", "Predictions with truth, by version.", "version")
    for version in row["versions"][-LARGEST_VERSIONS:]:
        for metric, figure in row["by_version"][version].items():
            for target, value in ((quality, figure["value"]), (low, figure["low"]), (high, figure["high"])):
                if value is not None:
                    target.labels(spec.name, version, metric).set(value)
            rows.labels(spec.name, version).set(figure["n"])
    reference = gauge("reference", "Metric of the live version on its holdout.", "metric")
    for metric, value in row["reference"].items():
        if value is not None:
            reference.labels(spec.name, metric).set(value)
    psi = gauge("psi", "Population stability index against the live version's profile.", "feature")
    missing = gauge("missing_share", "Share of missing values.", "feature")
    for feature, figure in row["drift"]["features"].items():
        if figure["psi"] is not None:
            psi.labels(spec.name, feature).set(figure["psi"])
        if figure["missing"] is not None:
            missing.labels(spec.name, feature).set(figure["missing"])
    predicted = gauge("prediction_psi", "Population stability index of the predictions.")
    if row["drift"]["prediction"]["psi"] is not None:
        predicted.labels(spec.name).set(row["drift"]["prediction"]["psi"])


def _text(figure: Mapping[str, Any]) -> str:
    if figure.get("value") is None:
        return figure.get("reason") or "not measured"
    interval = "" if figure.get("low") is None else f" ({figure['low']:.4g} to {figure['high']:.4g})"
    return f"{figure['value']:.4g}{interval}, {figure['n']} rows"
