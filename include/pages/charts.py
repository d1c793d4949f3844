"""Charts of a model's history: its primary metric over the windows, and drift as a heat map.

A chart is positions and texts, which the templates render as SVG and HTML.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from include.core.drift.figures import DriftFigure
from include.core.health.policy import threshold
from include.core.health.record import HealthRow, Incident
from include.core.quality.figures import QualityFigure
from include.core.spec import ModelSpec

WIDTH, HEIGHT, LEFT, BOTTOM = 760.0, 240.0, 54.0, 28.0
"""Size and margins of the history chart, in SVG units."""
TOP, RIGHT = 10.0, 20.0
MAX_LABELS = 12
"""At most this many windows are labelled below the chart."""
UNJUDGED_LIMIT = 0.2
"""Stands for the limit of a column with too few rows to have one; affects only the heat map's colours."""

NOT_MEASURED = QualityFigure(None)


@dataclass(frozen=True)
class Scale:
    """Maps values of the metric to heights in the chart."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float]) -> Scale:
        """A scale that fits all values, with some margin above and below."""
        low, high = min(values), max(values)
        margin = (high - low) * 0.1 or abs(high) * 0.1 or 1.0
        return cls(low - margin, high + margin)

    def y(self, value: float | None) -> float | None:
        """Distance from the top, or None for None."""
        if value is None:
            return None
        return round(TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - BOTTOM - TOP), 1)


@dataclass(frozen=True)
class Interval:
    """The positions of a figure and of the bounds of its interval; None if missing."""

    y: float | None
    top: float | None
    low: float | None

    @classmethod
    def of(cls, figure: QualityFigure, scale: Scale) -> Interval:
        """The positions of a figure."""
        return cls(scale.y(figure.value), scale.y(figure.high), scale.y(figure.low))


@dataclass(frozen=True)
class ChartColumn:
    """One window."""

    window: str
    x: float
    half: float
    """Half of its width."""
    measured: Interval
    estimated: Interval
    limit: float | None
    """The threshold beyond which the window is degraded."""
    release: str | None
    """The live version, if it differs from the previous window's."""
    incident: bool
    text: str
    estimated_text: str


@dataclass(frozen=True)
class Tick:
    """A value on the axis."""

    y: float | None
    text: str


@dataclass(frozen=True)
class Chart:
    """The primary metric over the windows, with its interval, threshold, releases and incidents."""

    columns: tuple[ChartColumn, ...]
    ticks: tuple[Tick, ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    floor: float = HEIGHT - BOTTOM

    @property
    def every(self) -> int:
        """One in this many windows is labelled below the chart."""
        return max(1, -(-len(self.columns) // MAX_LABELS))

    @property
    def line(self) -> str:
        """The points of the line through the measured values."""
        return " ".join(f"{c.x},{c.measured.y}" for c in self.columns if c.measured.y is not None)


def history_chart(spec: ModelSpec, history: Sequence[HealthRow], incidents: Sequence[Incident]) -> Chart | None:
    """The primary metric over the windows of ``history``, oldest first; None if there is nothing to draw."""
    metric = spec.metrics.primary
    measured = [row.live_figure(metric) or NOT_MEASURED for row in history]
    estimated = [row.estimated(metric) or NOT_MEASURED for row in history]
    limits = [threshold(row, spec) for row in history]
    shown = [
        *limits,
        *(bound for figure in (*measured, *estimated) for bound in (figure.value, figure.low, figure.high)),
    ]
    values = [value for value in shown if value is not None]
    if not values:
        return None
    scale = Scale.around(values)
    step = (WIDTH - LEFT - RIGHT) / len(history)
    opened = {incident.window for incident in incidents}
    columns = [
        ChartColumn(
            window=row.window,
            x=round(LEFT + step * (index + 0.5), 1),
            half=round(step / 2, 1),
            measured=Interval.of(measured[index], scale),
            estimated=Interval.of(estimated[index], scale),
            limit=scale.y(limits[index]),
            release=release,
            incident=row.window in opened,
            text=f"{row.window}: {_text(measured[index])}, version {row.live_version or '–'}, {row.status}",
            estimated_text=f"{row.window}: estimate before ground truth {_text(estimated[index])}",
        )
        for index, (row, release) in enumerate(zip(history, _releases(history), strict=True))
    ]
    ticks = tuple(Tick(scale.y(value), text) for value, text in round_ticks(scale.low, scale.high))
    return Chart(tuple(columns), ticks)


def round_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """One to six round values between ``low`` and ``high``, with their texts."""
    size = 10.0 ** math.floor(math.log10(high - low))
    step = next(size * factor for factor in (0.25, 0.5, 1.0, 2.0) if (high - low) / (size * factor) <= 5.01)
    decimals = max(0, -math.floor(math.log10(step)) + (1 if step / size == 0.25 else 0))
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [(number * step, f"{number * step:.{decimals}f}") for number in numbers]


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
