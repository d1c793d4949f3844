"""The history page of a model: all windows on one self-contained HTML page, ``reports/<model>/index.html``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from include.adapters.files import write_atomically
from include.core.health.record import HealthRow, Incident
from include.core.quality.figures import EstimateOutcome, QualityFigure
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.pages.charts import heat_map, history_chart
from include.pages.rendering import file_of_window, report_path, template

NEWEST = 24
"""Number of windows in the tables and the heat map; older ones still have their pages and are in the chart."""


@dataclass(frozen=True)
class WindowLine:
    """A window in the tables."""

    row: HealthRow
    figure: QualityFigure | None
    estimated: QualityFigure | None
    """The primary metric of the live version, measured and as estimated before ground truth."""
    outcome: EstimateOutcome | None
    """How accurate the estimate was."""
    incident: str | None

    @classmethod
    def of(cls, row: HealthRow, metric: str, incident: str | None) -> WindowLine:
        """The line of a health row."""
        outcome = row.estimate.outcome(metric) if row.estimate else None
        return cls(row, row.live_figure(metric), row.estimated(metric), outcome, incident)


def write_history(
    reports: Path, spec: ModelSpec, history: Sequence[HealthRow], incidents: Sequence[Incident], verdict: Verdict
) -> Path:
    """Write the page of all windows of ``history`` (oldest first) with the current ``verdict``; returns its path."""
    path = report_path(reports, spec.name, "index")
    write_atomically(path, render_history(spec, history, incidents, verdict).encode())
    return path


def render_history(
    spec: ModelSpec, history: Sequence[HealthRow], incidents: Sequence[Incident], verdict: Verdict
) -> str:
    """The page as text. It is self-contained, and every value is escaped."""
    context = history_context(spec, history, incidents, verdict)
    return template("history.html.j2").render(context, window_link=file_of_window)


def history_context(
    spec: ModelSpec, history: Sequence[HealthRow], incidents: Sequence[Incident], verdict: Verdict
) -> dict[str, object]:
    """What the templates of the history read, also inside the web UI; they need ``window_link`` as well."""
    shown = list(history)[-NEWEST:]
    opened = {incident.window: incident.key for incident in incidents}
    return {
        "spec": spec,
        "verdict": verdict,
        "chart": history_chart(spec, history, incidents),
        "windows": [WindowLine.of(row, spec.metrics.primary, opened.get(row.window)) for row in reversed(shown)],
        "older": [row.window for row in history[: len(history) - len(shown)]],
        "metrics": spec.metrics.names,
        "slices": sorted({name for row in shown for name in row.slices}),
        "heat": heat_map(shown),
    }
