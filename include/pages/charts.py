"""Charts of a model's history: its primary metric over the windows, and drift as a heat map.

The first is drawn by matplotlib as SVG, which needs no script, so that it is the same in the web UI and in a mail. The
heat map is positions and texts, which a template renders as a table.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from include.core.drift.figures import DriftFigure
from include.core.health.degradation import threshold
from include.core.health.record import HealthRow, Incident
from include.core.quality.figures import QualityFigure
from include.core.spec import ModelSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = 7.6, 2.4
MAX_LABELS = 12
"""At most this many windows are labelled below the chart."""
COLOURS = {
    "#010101": "var(--page)",
    "#020202": "var(--grid)",
    "#030303": "var(--soft)",
    "#040404": "var(--blue)",
    "#050505": "var(--hold)",
    "#060606": "var(--bad)",
    "#070707": "var(--good)",
}
"""What matplotlib draws with, and what it becomes: the page's colours, which differ in light and dark."""
PAGE, GRID, SOFT, BLUE, HOLD, BAD, GOOD = COLOURS
COLOUR = re.compile("|".join(COLOURS))
SVG = "http://www.w3.org/2000/svg"
MARKS = f"{{{SVG}}}use", f"{{{SVG}}}path"
UNJUDGED_LIMIT = 0.2
"""Stands for the limit of a column with too few rows to have one; affects only the heat map's colours."""

NOT_MEASURED = QualityFigure(None)


def history_chart(spec: ModelSpec, history: Sequence[HealthRow], incidents: Sequence[Incident]) -> str | None:
    """The primary metric over the windows of ``history``, oldest first, as SVG; None if there is nothing to draw.

    It shows interval, threshold, releases and incidents; each figure has its text as a title.
    """
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    metric = spec.metrics.primary
    measured = [row.live_figure(metric) or NOT_MEASURED for row in history]
    estimated = [row.estimated(metric) or NOT_MEASURED for row in history]
    limits = [threshold(row, spec) for row in history]
    if all(value is None for value in (*limits, *(figure.value for figure in (*measured, *estimated)))):
        return None
    rcParams["svg.fonttype"], rcParams["svg.hashsalt"] = "none", "evergreen"
    figure = Figure(figsize=INCHES, dpi=100, layout="constrained")
    axes = figure.add_subplot()
    _draw_frame(axes, [row.window for row in history])
    opened = {incident.window for incident in incidents}
    for place, (row, release, limit) in enumerate(zip(history, _releases(history), limits, strict=True)):
        if row.window in opened:
            axes.axvspan(place - 0.5, place + 0.5, color=BAD, alpha=0.1, linewidth=0, gid="incident")
        if release:
            axes.axvline(place - 0.5, color=GOOD, linestyle="--", linewidth=1)
            axes.text(place - 0.5, 1.01, f"v{release}", color=SOFT, transform=axes.get_xaxis_transform(), fontsize=8)
        if limit is not None:
            axes.hlines(limit, place - 0.5, place + 0.5, color=BAD, linewidth=1)
    _draw_figures(axes, measured, 0.0, "o", BLUE, BLUE, "measured")
    axes.plot([figure.value if figure.value is not None else float("nan") for figure in measured], color=BLUE)
    _draw_figures(axes, estimated, 0.2, "s", HOLD, PAGE, "estimated")
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    titles = {
        "incident": ["incident"],
        "measured": [
            f"{row.window}: {_text(one)}, version {row.live_version or '–'}, {row.status}"
            for row, one in zip(history, measured, strict=True)
            if one.value is not None
        ],
        "estimated": [
            f"{row.window}: estimate before ground truth {_text(one)}"
            for row, one in zip(history, estimated, strict=True)
            if one.value is not None
        ],
    }
    return _for_page(file.getvalue(), titles, metric)


def _draw_frame(axes: Axes, windows: Sequence[str]) -> None:
    """The axes and a grid; the windows are at 0, 1, 2 ..."""
    every = max(1, -(-len(windows) // MAX_LABELS))
    axes.set_xticks(range(0, len(windows), every), windows[::every])
    axes.set_xlim(-0.5, max(len(windows), 1) - 0.5)
    axes.tick_params(length=0, labelcolor=SOFT, labelsize=8)
    axes.locator_params(axis="y", nbins=5)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.yaxis.grid(visible=True, color=GRID)
    axes.set_axisbelow(True)
    axes.set_frame_on(False)


def _draw_figures(
    axes: Axes, figures: Sequence[QualityFigure], shift: float, marker: str, edge: str, face: str, name: str
) -> None:
    """A marker for each figure that has a value, and its interval; ``name`` is the id of the markers' group."""
    known = [(place + shift, one.value, one) for place, one in enumerate(figures) if one.value is not None]
    whole = [(x, one.low, one.high) for x, _, one in known if one.low is not None and one.high is not None]
    if whole:
        axes.vlines(*zip(*whole, strict=True), color=edge, alpha=0.5, linewidth=1)
    places, values = [x for x, _, _ in known], [value for _, value, _ in known]
    axes.scatter(places, values, 20, face, marker=marker, edgecolors=edge, zorder=3, gid=name)


def _for_page(drawn: str, titles: Mapping[str, Sequence[str]], metric: str) -> str:
    """The SVG as a part of a page: in the page's colours, and with a title for each figure.

    ``titles`` are those of the children of a group, by the group's id.
    """
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(drawn)
    for child in [one for one in root if one.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}defs")]:
        root.remove(child)  # who made it, and a style that would apply to the whole page
    for group in root.iter(f"{{{SVG}}}g"):
        texts = titles.get(group.attrib.pop("id", ""))
        if texts:
            drawn_once = [one for one in group.iter() if one.tag in MARKS and "id" not in one.attrib]
            for mark, text in zip(drawn_once, texts, strict=True):
                ElementTree.SubElement(mark, f"{{{SVG}}}title").text = text
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "class": "chart",
        "role": "img",
        "aria-label": f"{metric} of the live version by window, with its interval, its limit and the estimate before "
        "ground truth. The tables have the figures.",
    }
    text = ElementTree.tostring(root, encoding="unicode")
    return COLOUR.sub(lambda found: COLOURS[found[0]], text)  # ElementTree has escaped all texts


@dataclass(frozen=True)
class HeatCell:
    """Drift of a column in a window."""

    psi: float | None
    """None if unknown."""
    drifted: bool
    heat: float
    """PSI relative to its limit: 0 without drift, 1 at twice the limit or more."""


@dataclass(frozen=True)
class HeatMap:
    """PSI of each feature and of the prediction by window."""

    windows: tuple[str, ...]
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]
    """Columns and their cells, sorted by their largest drift in any window."""


def heat_map(history: Sequence[HealthRow]) -> HeatMap:
    """The heat map of these windows."""
    names = dict.fromkeys(name for row in history for name in row.drift.columns)
    rows = [
        (name, tuple(_cell(row.drift.columns.get(name), name in row.drift.drifted) for row in history))
        for name in names
    ]
    rows.sort(key=lambda row: -max((cell.heat for cell in row[1]), default=0.0))
    return HeatMap(tuple(row.window for row in history), tuple(rows))


def _cell(figure: DriftFigure | None, drifted: bool) -> HeatCell:
    if figure is None or figure.psi is None:
        return HeatCell(None, drifted, 0.0)
    limit = figure.limits.get("psi") or UNJUDGED_LIMIT
    return HeatCell(figure.psi, drifted, min(figure.psi / limit, 2.0) / 2)


def _releases(history: Sequence[HealthRow]) -> list[str | None]:
    """Each window's live version if it differs from the previous window's, else None."""
    live: list[str | None] = [None]
    for row in history:
        live.append(row.live_version or live[-1])
    return [current if current != previous else None for previous, current in pairwise(live)]


def _text(figure: QualityFigure) -> str:
    if figure.value is None:
        return figure.reason or "not measured"
    interval = "" if figure.low is None else f" ({figure.low:.4g} to {figure.high:.4g})"
    return f"{figure.value:.4g}{interval}, {figure.n} rows"
