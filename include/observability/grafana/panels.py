"""Builders for the panels of Evergreen's dashboards."""

from __future__ import annotations

from typing import TypeVar

from grafana_foundation_sdk.builders import barchart, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models.common import BigValueTextMode, DataSourceRef
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="evergreen")
PanelT = TypeVar("PanelT", barchart.Panel, table.Panel)
WIDE, HALF, THIRD, SIXTH = 24, 12, 8, 4
Query = tuple[str, str]
"""An expression and the legend of its series."""
Column = tuple[str, str]
"""An expression and the label to show (empty: its value)."""


def new_dashboard(title: str, description: str) -> dashboard.Dashboard:
    """An empty dashboard that shows the last six hours."""
    return (
        dashboard.Dashboard(title)
        .uid(f"evergreen-{title.lower()}")
        .description(description)
        .tags(["evergreen"])
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
    )


def variable(name: str, query: str) -> dashboard.QueryVariable:
    """A dashboard variable, ``$<name>`` in its queries."""
    built = dashboard.QueryVariable(name).label(name.capitalize()).query(query).datasource(SOURCE)
    return built.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)


def annotation(name: str, query: str, text: str, color: str) -> dashboard.AnnotationQuery:
    """Annotations at the timestamps that are the values of the series."""
    built = dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True).hide(False).icon_color(color)
    return built.expr(query).use_value_for_time(True).title_format(name).text_format(text).step("60s")


def lines(title: str, description: str, width: int, *queries: Query, unit: str = "short") -> timeseries.Panel:
    """A time series panel."""
    panel = timeseries.Panel().title(title).description(description).datasource(SOURCE).unit(unit).height(8).span(width)
    for number, (expression, legend) in enumerate(queries):
        panel = panel.with_target(_query(number).expr(expression).legend_format(legend).range())
    return panel.fill_opacity(5)


def figure(
    title: str, expression: str, legend: str, *, name: bool = False, unit: str = "short", red: float | None = None
) -> stat.Panel:
    """A single figure or, with ``name``, the name of the only series."""
    panel = stat.Panel().title(title).datasource(SOURCE).unit(unit).height(4).span(SIXTH)
    steps = [Threshold(value=None, color="green"), *([Threshold(value=red, color="red")] if red is not None else [])]
    panel = panel.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    if name:
        panel = panel.text_mode(BigValueTextMode.NAME)
    return panel.with_target(_query(0).expr(expression).legend_format(legend).instant())


def one_table(title: str, columns: dict[str, Column], *, height: int) -> table.Panel:
    """A table with one row per model."""
    panel = table.Panel().title(title).datasource(SOURCE).height(height).span(WIDE)
    return _joined(panel, columns, "model")


def bars(title: str, by: str, columns: dict[str, Column]) -> barchart.Panel:
    """A bar chart with one group per value of the label ``by``."""
    panel = barchart.Panel().title(title).datasource(SOURCE).height(8).span(WIDE).x_field(by)
    return _joined(panel, columns, by)


def _joined(panel: PanelT, columns: dict[str, Column], by: str) -> PanelT:
    """One row per value of the label ``by``, one column per query: its value, or one of its labels."""
    renamed, hidden = {}, {"Time": True}
    for number, (name, (expression, label)) in enumerate(columns.items()):
        panel = panel.with_target(_query(number).expr(expression).instant().format(PromQueryFormat.TABLE))
        value = f"Value #{_letter(number)}" if len(columns) > 1 else "Value"
        hidden |= {f"Time {number + 1}": True, **({value: True} if label else {})}
        renamed[label or value] = name
    join = DataTransformerConfig(id_val="joinByField", options={"byField": by, "mode": "outer"})
    order = DataTransformerConfig(id_val="organize", options={"excludeByName": hidden, "renameByName": renamed})
    return (panel.with_transformation(join) if len(columns) > 1 else panel).with_transformation(order)


def _query(number: int) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(_letter(number))


def _letter(number: int) -> str:
    return chr(ord("A") + number)
