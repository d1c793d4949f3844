"""Health for people: one self-contained HTML page a window.

The page of all windows is :mod:`include.pages.history`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template, select_autoescape

from include.adapters.files import write_atomically
from include.core.health.policy import threshold
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.settings import settings

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
    """Write the page and the JSON of one window of ``history`` (oldest first); returns the page's path.

    The page shows what was known of the windows up to its own; later ones are only linked.
    """
    path = report_path(spec.name, window)
    until = [row for row in history if row["window"] <= window]
    later = [row["window"] for row in history if row["window"] > window]
    row = until[-1]
    write_atomically(path.with_suffix(".json"), json.dumps(row, indent=1).encode())
    write_atomically(path, render(spec, row, until, incidents, verdict, after=min(later, default=None)).encode())
    return path


def render(
    spec: ModelSpec,
    row: Health,
    history: Sequence[Health],
    incidents: Sequence[Mapping[str, Any]],
    verdict: Verdict,
    after: str | None = None,
) -> str:
    """The page as text, ``after`` being the next window that has one. It needs no network; every value is escaped."""
    drifted = sorted(row["drift"]["features"].items(), key=lambda item: -(item[1]["psi"] or 0))
    drift = [*drifted, ("prediction", row["drift"]["prediction"])]
    return template("window.html.j2").render(
        spec=spec,
        row=row,
        verdict=verdict,
        metrics=spec.metrics.names,
        before=max((other["window"] for other in history if other["window"] < row["window"]), default=None),
        after=after,
        drift=drift,
        sides=[(name, figure) for name, figure in drift if figure.get("distribution")],
        chart=history_chart(spec, history, incidents),
        incidents=[incident for incident in incidents if incident["window"] == row["window"]],
    )


def template(name: str) -> Template:
    """A page's template, with the filters that pages write figures with."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.4g}"
    environment.filters["signed"] = lambda value: "–" if value is None else f"{value:+.3g}"
    environment.filters["share"] = lambda value: "–" if value is None else f"{100 * value:.1f} %"
    return environment.get_template(name)


def history_chart(
    spec: ModelSpec, history: Sequence[Health], incidents: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Positions of the primary metric over the windows, its interval, threshold, releases and incidents."""
    metric = spec.metrics.primary
    points: list[tuple[Health, Mapping[str, Any], Mapping[str, Any], float | None]] = []
    for row in history:
        expected = ((row.get("estimate") or {}).get("quality") or {}).get(metric) or {}
        points.append((row, live_figure(row, metric), expected, threshold(row, spec)))
    ends = ("value", "low", "high")
    shown = [
        v for _, f, e, limit in points for v in (*(f.get(end) for end in ends), *(e.get(end) for end in ends), limit)
    ]
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
    for index, (row, figure, expected, limit) in enumerate(points):
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
                "expected": y(expected.get("value")),
                "expected_top": y(expected.get("high")),
                "expected_low": y(expected.get("low")),
                "expected_text": f"{row['window']}: estimate before truth {_text(expected)}",
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


def live_figure(row: Health, metric: str) -> Mapping[str, Any]:
    """The metric of the live version in this window; empty where there is none."""
    return (row.get("by_version") or {}).get(row.get("live_version") or "", {}).get(metric) or {}


def _text(figure: Mapping[str, Any]) -> str:
    if figure.get("value") is None:
        return figure.get("reason") or "not measured"
    interval = "" if figure.get("low") is None else f" ({figure['low']:.4g} to {figure['high']:.4g})"
    return f"{figure['value']:.4g}{interval}, {figure['n']} rows"
