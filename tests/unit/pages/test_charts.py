"""Charts show each window where its figures are, and nothing that was not measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.drift.figures import DriftFigure
from include.core.health.record import HealthRow
from include.core.quality.figures import Estimate, QualityFigure
from include.core.spec import ModelSpec
from include.core.windows import windows_before
from include.pages.charts import HEIGHT, LEFT, WIDTH, Chart, heat_map, history_chart, round_ticks
from tests.support.health_rows import health_row, incident, with_drift


def with_interval(window: str, value: float) -> HealthRow:
    figure = QualityFigure(value, value - 0.05, value + 0.05, 500)
    return replace(health_row(window, value), by_version={"1": {"roc_auc": figure}})


def chart_of(spec: ModelSpec, *rows: HealthRow) -> Chart:
    chart = history_chart(spec, rows, [incident("2013-04", spec.name)])
    assert chart
    return chart


def test_better_values_are_higher_and_all_are_within_the_chart(spec: ModelSpec) -> None:
    values = {"2013-03": 0.6, "2013-04": 0.7, "2013-05": 0.9}
    columns = chart_of(spec, *(with_interval(window, value) for window, value in values.items())).columns
    heights: list[Any] = [column.measured.y for column in columns]
    assert heights == sorted(heights, reverse=True), "y grows downwards"
    for column in columns:
        assert 0 < column.measured.top < column.measured.y < column.measured.low < HEIGHT
        assert column.x - column.half > LEFT
        assert column.x + column.half < WIDTH
    assert [column.incident for column in columns] == [False, True, False]


def test_a_window_without_truth_leaves_a_gap_but_its_estimate_is_drawn(spec: ModelSpec) -> None:
    waiting = replace(health_row("2013-05", None), estimate=Estimate("cbpe", {"roc_auc": QualityFigure(0.7)}, {}))
    chart = chart_of(spec, health_row("2013-04", 0.7), waiting)
    first, second = chart.columns
    assert second.measured.y is None
    assert second.estimated.y == first.measured.y
    assert chart.line == f"{first.x},{first.measured.y}"
    assert second.text.startswith("2013-05: not measured")


def test_a_version_is_named_where_it_is_another_one_than_before(spec: ModelSpec) -> None:
    versions = ["1", "1", "2", "2", "3"]
    windows = windows_before("2013-05", "month", 5)
    rows = [health_row(window, 0.7, version=version) for window, version in zip(windows, versions, strict=True)]
    rows[3] = replace(rows[3], live_version=None, by_version={})
    assert [column.release for column in chart_of(spec, *rows).columns] == ["1", None, "2", None, "3"]


def test_nothing_measured_is_no_chart_and_equal_values_are_no_division_by_zero(spec: ModelSpec) -> None:
    assert history_chart(spec, [], []) is None
    assert history_chart(spec, [replace(health_row("2013-05", None), reference={})], []) is None
    same = replace(health_row("2013-05", 0.0), reference={})
    assert chart_of(spec, same).columns[0].measured.y is not None


@pytest.mark.parametrize(("windows", "every"), [(1, 1), (12, 1), (13, 2), (60, 5)])
def test_at_most_twelve_windows_are_named_below_the_chart(spec: ModelSpec, windows: int, every: int) -> None:
    rows = [health_row(window, 0.7) for window in windows_before("2013-05", "month", windows)]
    assert chart_of(spec, *rows).every == every


def test_the_heat_map_is_hottest_where_a_feature_is_beyond_its_limit() -> None:
    def row(window: str, psi: float | None, *drifted: str) -> HealthRow:
        scores = {"calm": 0.0, "windy": psi, "own": 0.02, "prediction": 0.1}
        figures = {name: DriftFigure({"psi": score}) for name, score in scores.items()}
        figures["own"] = replace(figures["own"], limits={"psi": 0.01})
        return with_drift(health_row(window, 0.7), figures, *drifted)

    heat = heat_map([row("2013-04", None), row("2013-05", 0.3, "windy")])
    cells = dict(heat.rows)
    assert heat.windows == ("2013-04", "2013-05")
    assert [name for name, _ in heat.rows] == ["own", "windy", "prediction", "calm"]
    assert [cell.drifted for cell in cells["windy"]] == [False, True]
    assert [cell.psi for cell in cells["windy"]] == [None, 0.3]
    assert cells["calm"][0].heat == 0.0
    assert cells["own"][0].heat == 1, "at twice a limit of its own"


def test_a_feature_that_a_window_lacks_has_no_score_there() -> None:
    now, before = health_row("2013-05", 0.7), health_row("2013-04", 0.7)
    prediction = DriftFigure({"psi": 0.1})
    new = with_drift(now, {"new": DriftFigure({"psi": 0.2}), "prediction": prediction})
    cells = dict(heat_map([with_drift(before, {"prediction": prediction}), new]).rows)
    assert [cell.psi for cell in cells["new"]] == [None, 0.2]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.603, 0.82, ["0.65", "0.70", "0.75", "0.80"]),
        (9.3, 13.8, ["10", "11", "12", "13"]),
        (-0.43, 0.4, ["-0.4", "-0.2", "0.0", "0.2", "0.4"]),
        (0.0012, 0.0034, ["0.0015", "0.0020", "0.0025", "0.0030"]),
        (120_000.0, 980_000.0, ["200000", "400000", "600000", "800000"]),
    ],
)
def test_the_axis_has_round_values(low: float, high: float, texts: list[str]) -> None:
    assert [text for _, text in round_ticks(low, high)] == texts


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-6, 1e6))
def test_every_axis_has_a_few_values_and_all_are_inside(low: float, width: float) -> None:
    ticks = round_ticks(low, low + width)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-9 <= value <= low + width + 1e-9 for value, _ in ticks)
