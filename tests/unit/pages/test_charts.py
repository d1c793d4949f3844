"""Charts show each window where its figures are, and nothing that was not measured."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from include.core.drift.figures import DriftFigure
from include.core.health.record import HealthRow
from include.core.quality.figures import Estimate, QualityFigure
from include.core.spec import ModelSpec
from include.core.windows import windows_before
from include.pages.charts import heat_map, history_chart
from tests.support.health_rows import health_row, incident, with_drift

SVG = "{http://www.w3.org/2000/svg}"


def with_interval(window: str, value: float) -> HealthRow:
    figure = QualityFigure(value, value - 0.05, value + 0.05, 500)
    return replace(health_row(window, value), by_version={"1": {"roc_auc": figure}})


def drawn(spec: ModelSpec, *rows: HealthRow) -> ElementTree.Element:
    chart = history_chart(spec, rows, [incident("2013-04", spec.name)])
    assert chart
    return ElementTree.fromstring(chart)


def titled(chart: ElementTree.Element, tag: str) -> dict[str, ElementTree.Element]:
    """Title → element, of those with this tag."""
    return {
        str(one.findtext(f"{SVG}title")): one for one in chart.iter(SVG + tag) if one.find(f"{SVG}title") is not None
    }


def texts(chart: ElementTree.Element) -> list[str]:
    return [str(one.text) for one in chart.iter(f"{SVG}text")]


def test_better_values_are_higher_and_all_are_within_the_chart(spec: ModelSpec) -> None:
    values = {"2013-03": 0.6, "2013-04": 0.7, "2013-05": 0.9}
    chart = drawn(spec, *(with_interval(window, value) for window, value in values.items()))
    marks = titled(chart, "use")
    assert [title.partition(":")[0] for title in marks] == list(values)
    assert "2013-04: 0.7 (0.65 to 0.75), 500 rows, version 1" in next(title for title in marks if "2013-04" in title)
    heights = [float(mark.attrib["y"]) for mark in marks.values()]
    assert heights == sorted(heights, reverse=True), "y grows downwards"
    width, height = (float(number) for number in chart.attrib["viewBox"].split()[2:])
    assert all(0 < float(mark.attrib["x"]) < width and 0 < float(mark.attrib["y"]) < height for mark in marks.values())
    assert list(titled(chart, "path")) == ["incident"]


def test_the_chart_has_the_page_s_colours_and_nothing_that_reaches_beyond_it(spec: ModelSpec) -> None:
    chart = history_chart(spec, [with_interval("2013-05", 0.7)], [])
    assert chart and "var(--blue)" in chart
    for foreign in ("#0", "<style", "<metadata", "<script", 'id="figure'):
        assert foreign not in chart


def test_a_window_without_truth_leaves_a_gap_but_its_estimate_is_drawn(spec: ModelSpec) -> None:
    waiting = replace(health_row("2013-05", None), estimate=Estimate("cbpe", {"roc_auc": QualityFigure(0.7)}, {}))
    first, second = titled(drawn(spec, health_row("2013-04", 0.7), waiting), "use").items()
    assert first[0].startswith("2013-04: 0.7") and second[0].startswith("2013-05: estimate before ground truth 0.7")
    assert first[1].attrib["y"] == second[1].attrib["y"]


def test_a_version_is_named_where_it_is_another_one_than_before(spec: ModelSpec) -> None:
    versions = ["1", "1", "2", "2", "3"]
    windows = windows_before("2013-05", "month", 5)
    rows = [health_row(window, 0.7, version=version) for window, version in zip(windows, versions, strict=True)]
    rows[3] = replace(rows[3], live_version=None, by_version={})
    assert [text for text in texts(drawn(spec, *rows)) if text.startswith("v")] == ["v1", "v2", "v3"]


def test_nothing_measured_is_no_chart_and_equal_values_are_no_division_by_zero(spec: ModelSpec) -> None:
    assert history_chart(spec, [], []) is None
    assert history_chart(spec, [replace(health_row("2013-05", None), reference={})], []) is None
    same = replace(health_row("2013-05", 0.0), reference={})
    assert len(titled(drawn(spec, same), "use")) == 1


@pytest.mark.parametrize(("windows", "named"), [(1, 1), (12, 12), (13, 7), (60, 12)])
def test_at_most_twelve_windows_are_named_below_the_chart(spec: ModelSpec, windows: int, named: int) -> None:
    rows = [health_row(window, 0.7) for window in windows_before("2013-05", "month", windows)]
    assert len([text for text in texts(drawn(spec, *rows)) if text.startswith("20")]) == named


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
