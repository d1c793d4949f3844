"""A window's health as one self-contained HTML page.

The page of all windows is :mod:`include.pages.history`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from include.adapters.files import write_atomically
from include.core.health.drift_alert import false_alerts_a_year, false_windows_a_year
from include.core.health.record import HealthRow, Incident
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.pages.charts import history_chart
from include.pages.conditions import of_intervals
from include.pages.rendering import file_of_window, report_path, template


def write_window(
    reports: Path,
    spec: ModelSpec,
    window: str,
    history: Sequence[HealthRow],
    incidents: Sequence[Incident],
    verdict: Verdict,
) -> Path:
    """Write the page and the JSON of one window of ``history`` (oldest first); returns the page's path.

    The page shows the windows up to its own; later ones are only linked.
    """
    path = report_path(reports, spec.name, window)
    until = [row for row in history if row.window <= window]
    later = [row.window for row in history if row.window > window]
    page = render_window(spec, until, incidents, verdict, after=min(later, default=None))
    write_atomically(path.with_suffix(".json"), json.dumps(until[-1].as_dict(), indent=1).encode())
    write_atomically(path, page.encode())
    return path


def render_window(
    spec: ModelSpec,
    history: Sequence[HealthRow],
    incidents: Sequence[Incident],
    verdict: Verdict,
    after: str | None = None,
) -> str:
    """The page of the last window of ``history`` as text; ``after`` is the next window that has a page.

    It is self-contained, and every value is escaped.
    """
    context = window_context(spec, history, incidents, verdict, after)
    return template("window.html.j2").render(context, window_link=file_of_window)


def window_context(
    spec: ModelSpec,
    history: Sequence[HealthRow],
    incidents: Sequence[Incident],
    verdict: Verdict,
    after: str | None = None,
) -> dict[str, object]:
    """What the templates of a window read, also inside the web UI; they need ``window_link`` as well."""
    row = history[-1]
    drifted = sorted(row.drift.features.items(), key=lambda item: -(item[1].psi or 0))
    drift = [*drifted, ("prediction", row.drift.prediction)]
    return {
        "spec": spec,
        "row": row,
        "verdict": verdict,
        "metrics": spec.metrics.names,
        "before": history[-2].window if len(history) > 1 else None,
        "after": after,
        "drift": drift,
        "sides": [(name, figure) for name, figure in drift if figure.distribution],
        "chart": history_chart(spec, history, incidents),
        "incidents": [incident for incident in incidents if incident.window == row.window],
        "intervals": of_intervals(spec),
        "false_windows": false_windows_a_year(spec),
        "false_alerts": false_alerts_a_year(spec),
    }
