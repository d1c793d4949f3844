"""Dashboards: the committed files are those that the code makes, and say where their figures come from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.observability.grafana.generate import DASHBOARDS, FOLDER, rendered

each = pytest.mark.parametrize("name", DASHBOARDS)


@each
def test_a_committed_dashboard_is_up_to_date(name: Any) -> None:
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == rendered(name), "run 'make docs' and commit it"


def test_no_file_is_left_of_a_dashboard_that_is_gone() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(DASHBOARDS)


@each
def test_each_panel_has_the_provisioned_source_and_a_place_of_its_own(name: Any) -> None:
    panels = json.loads(rendered(name))["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {"evergreen"}
    places = [tuple(panel["gridPos"][key] for key in ("x", "y")) for panel in panels]
    assert len(set(places)) == len(places), "one panel would lie upon another"
