"""Health rows that an installation has stay readable, and reading loses nothing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from include.core.health.record import HealthRow, estimate_errors_before
from include.core.json_types import FORMER_NAMES
from include.core.quality.figures import Estimate, EstimateOutcome, QualityFigure
from tests.support.health_rows import health_row

RECORDED = json.loads((Path(__file__).parent / "recorded_rows.json").read_text(encoding="utf-8"))
"""Rows as release 0.1.0 wrote them: several versions, drift, skew and findings; waiting; a regression; empty."""


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda row: f"{row['metric']} {row['window']}")
def test_a_row_of_an_installation_is_read_and_written_again_without_loss(recorded: Any) -> None:
    row = HealthRow.from_dict(recorded)
    text = json.dumps(recorded)
    for former, present in FORMER_NAMES.items():
        text = text.replace(f'"{former}":', f'"{present}":')
    assert row.as_dict() == {"holdout": {}, "spec_change": "", "problem": "", **json.loads(text)}
    assert HealthRow.from_dict(row.as_dict()) == row
    json.dumps(row.as_dict(), allow_nan=False)


def test_recorded_rows_are_of_every_kind() -> None:
    rows = [HealthRow.from_dict(recorded) for recorded in RECORDED]
    assert {row.status for row in rows} == {"complete", "waiting", "empty"}
    assert {row.estimate.method for row in rows if row.estimate} == {"cbpe", "dle"}
    assert {row.drift.multivariate.status for row in rows} == {"steady", "drifted", "insufficient", "unknown"}
    assert any(row.data_quality.skew for row in rows)
    assert any(len(row.versions) > 1 for row in rows)


def test_what_is_read_has_types_all_the_way_down() -> None:
    row = HealthRow.from_dict(next(row for row in RECORDED if row["data_quality"]["skew"]))
    figure = row.live_figure("roc_auc")
    assert figure and figure.value == row.by_version["1"]["roc_auc"].value
    assert row.drift.features["origin"].new == {"LGA": 200}
    assert row.data_quality.skew and row.data_quality.skew.features["distance"].different == 300
    assert row.estimate and row.estimate.truth["roc_auc"].inside is False
    assert row.service.versions["1"].rows == 300


def test_intervals_of_earlier_releases_are_not_shown_since_they_do_not_hold() -> None:
    row = HealthRow.from_dict(next(row for row in RECORDED if row["estimate"] and row["estimate"]["truth"]))
    assert row.estimate and row.estimate.quality["roc_auc"].low is not None
    figure, outcome = row.estimated("roc_auc"), row.estimate.outcome("roc_auc")
    assert figure and outcome
    assert (figure.low, figure.high, outcome.low, outcome.inside, row.estimate.coverage("roc_auc")) == (None,) * 5
    assert outcome.difference == row.estimate.truth["roc_auc"].difference


def test_errors_of_estimates_are_those_of_earlier_complete_windows_of_the_same_grain() -> None:
    def row(window: str, difference: float, **changes: Any) -> HealthRow:
        outcome = EstimateOutcome(0.7, None, None, 0.7 + difference, difference, None, 300)
        return health_row(window, 0.7, **{"estimate": Estimate("cbpe", {}, {"roc_auc": outcome}), **changes})

    history = [
        row("2013-01", 0.1),
        row("2013-02", 0.2, status="partial"),
        row("2013-03", 0.3, grain="week"),
        row("2013-04", 0.4, estimate=None),
        row("2013-05", 0.5, version="2"),
        row("2013-06", 0.6),
    ]
    assert estimate_errors_before("2013-06", "month", history) == {"roc_auc": [0.1, 0.5]}
    assert estimate_errors_before("2013-01", "month", history) == {}


def test_the_live_versions_figure_is_that_of_the_version_that_answered_most() -> None:
    row = health_row("2013-05", 0.7, version="2")
    live = row.live_figure("roc_auc")
    assert live and live.value == 0.7
    assert row.live_figure("brier") is None
    assert HealthRow.from_dict({**row.as_dict(), "live_version": None}).live_figure("roc_auc") is None


def test_rows_are_equal_whenever_they_were_recorded() -> None:
    assert HealthRow.from_dict(RECORDED[0], recorded=1.0) == HealthRow.from_dict(RECORDED[0], recorded=2.0)


def test_the_log_line_says_whose_figure_it_is() -> None:
    """The log had two figures of one window: of all versions, and of the live one."""
    one = replace(health_row("2013-05", 0.7125), quality={"roc_auc": QualityFigure(0.7125, None, None, 10)})
    assert one.measured() == "roc_auc 0.7125"
    mixed = replace(one, versions=("1", "2"), live_version="2", by_version={"2": {"roc_auc": QualityFigure(0.8)}})
    assert mixed.measured() == "roc_auc 0.8 for version 2 (0.7125 for all versions)"
    unknown = replace(mixed, by_version={}, quality={})
    assert unknown.measured() == "roc_auc not measured for version 2 (not measured for all versions)"
