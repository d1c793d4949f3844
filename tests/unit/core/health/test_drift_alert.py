"""An alert takes k of n drifted windows; how often it comes without drift is a number that can be counted."""

from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from include.adapters.data.predictions import no_predictions
from include.core.drift.figures import DriftStatus
from include.core.health.drift_alert import drift_alert, false_alerts_a_year, false_windows_a_year
from include.core.health.record import HealthRow
from include.core.health.window import WindowInputs, measure
from include.core.spec import ModelSpec
from tests.support.specs import model_spec


def spec_for(breaches: int = 2, windows: int = 3, grain: str = "month", rate: float = 0.05) -> ModelSpec:
    rules = {"drift_breaches": breaches, "drift_windows": windows, "window": grain, "drift_false_alarm_rate": rate}
    return model_spec(monitoring=rules)


def history(statuses: str, versions: str = "") -> list[HealthRow]:
    """A row for each letter: d (drifted), s (steady), i (insufficient); a dot is a missing window."""
    names: dict[str, DriftStatus] = {"d": "drifted", "s": "steady", "i": "insufficient"}
    empty = measure(WindowInputs("2013-01", datetime(2014, 1, 1), no_predictions()), model_spec())
    return [
        replace(
            empty,
            window=f"2013-{number:02d}",
            live_version=version,
            drift=replace(empty.drift, status=names[letter]),
        )
        for number, (letter, version) in enumerate(zip(statuses, versions or "1" * len(statuses), strict=True), 1)
        if letter != "."
    ]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ("", None),
        ("i", None),
        ("ddi", None),
        ("d", False),
        ("dd", True),
        ("dsd", True),
        ("dssd", False),
        ("d.d", True),
        ("d..d", False),
        ("dds", False),
        ("did", True),
    ],
)
def test_two_of_three_windows_alert(statuses: str, expected: bool | None) -> None:
    assert drift_alert(spec_for(), history(statuses)) is expected


def test_windows_of_an_earlier_version_were_compared_with_another_reference() -> None:
    assert drift_alert(spec_for(), history("dd", "12")) is False
    assert drift_alert(spec_for(1, 1), history("dd", "12")) is True


def test_the_yearly_rates_are_those_of_counting() -> None:
    assert false_windows_a_year(spec_for(grain="day")) == pytest.approx(18.26, abs=0.01)
    assert false_alerts_a_year(spec_for(1, 1)) == pytest.approx(12 * 0.05 * 0.95)
    assert false_alerts_a_year(spec_for(2, 2)) == pytest.approx(12 * 0.95 * 0.05**2)
    drifted = np.random.default_rng(0).random(400_000) < 0.2
    enough = drifted[2:] & (drifted[2:] + drifted[1:-1] * 1 + drifted[:-2] >= 2)
    begins = np.mean([now and not before for before, now in pairwise(enough)])
    assert false_alerts_a_year(spec_for(rate=0.2)) == pytest.approx(12 * begins, rel=0.03)
    assert false_alerts_a_year(spec_for(grain="day")) < 2


def test_more_breaches_than_windows_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="drift_breaches can't be more than drift_windows"):
        spec_for(3, 2)
