"""The history page of a model: all windows on one self-contained HTML page, ``reports/<model>/index.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from include.adapters.files import write_atomically
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.pages.window import history_chart, live_figure, report_path, template

NEWEST = 24
"""Windows that the tables and the heat map show; each older one still has its page, and stands in the chart."""
COLD, HOT = (255, 255, 255), (232, 131, 111)
"""Colours of the heat map, for no drift and for twice the limit or more; dark text can be read on both."""
LIMIT = 0.2
"""Where a health row tells no limit: the heat map's colours only."""

Health = Mapping[str, Any]


def write_history(
    spec: ModelSpec, history: Sequence[Health], incidents: Sequence[Mapping[str, Any]], verdict: Verdict
) -> Path:
    """Write the page of all windows of ``history`` (oldest first) and today's ``verdict``; returns its path."""
    path = report_path(spec.name, "index")
    write_atomically(path, render_history(spec, history, incidents, verdict).encode())
    return path


def render_history(
    spec: ModelSpec, history: Sequence[Health], incidents: Sequence[Mapping[str, Any]], verdict: Verdict
) -> str:
    """The page as text. It needs no network; every value is escaped."""
    shown = list(history)[-NEWEST:]
    metric = spec.metrics.primary
    opened = {incident["window"]: incident["incident"] for incident in incidents}
    windows = [
        {
            "row": row,
            "figure": live_figure(row, metric),
            "expected": ((row.get("estimate") or {}).get("quality") or {}).get(metric) or {},
            "came": ((row.get("estimate") or {}).get("truth") or {}).get(metric),
            "incident": opened.get(row["window"]),
            "findings": (row.get("data_quality") or {}).get("findings") or [],
        }
        for row in reversed(shown)
    ]
    return template("history.html.j2").render(
        spec=spec,
        verdict=verdict,
        chart=history_chart(spec, history, incidents),
        windows=windows,
        older=[row["window"] for row in history[: len(history) - len(shown)]],
        metrics=spec.metrics.names,
        slices=sorted({name for row in shown for name in row.get("slices") or {}}),
        heat=heat_map(shown),
    )


def heat_map(history: Sequence[Health]) -> dict[str, Any]:
    """PSI of each feature and of the prediction by window, the feature that drifted most in any window first.

    Returns ``{"windows", "rows": [(feature, [cell])]}``; a cell has ``psi`` (None: not known), ``drifted`` and the
    ``color`` of its PSI relative to its limit.
    """
    columns = [
        (
            {**row["drift"]["features"], "prediction": row["drift"]["prediction"]},
            set(row["drift"].get("drifted") or ()),
            row["drift"].get("threshold") or LIMIT,
        )
        for row in history
    ]
    names = dict.fromkeys(name for features, _, _ in columns for name in features)
    rows = [
        (
            name,
            [_cell(features.get(name) or {}, name in drifted, limit) for features, drifted, limit in columns],
        )
        for name in names
    ]
    rows.sort(key=lambda row: -max((cell["heat"] for cell in row[1]), default=0.0))
    return {"windows": [row["window"] for row in history], "rows": rows}


def _cell(figure: Mapping[str, Any], drifted: bool, limit: float) -> dict[str, Any]:
    psi = figure.get("psi")
    heat = min((psi or 0.0) / ((figure.get("limits") or {}).get("psi") or limit), 2.0) / 2
    mixed = (round(cold + (hot - cold) * heat) for cold, hot in zip(COLD, HOT, strict=True))
    return {"psi": psi, "drifted": drifted, "heat": heat, "color": "#" + "".join(f"{part:02x}" for part in mixed)}
