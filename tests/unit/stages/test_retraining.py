"""There is one way to ask the policy, and an incident is opened once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from include.core.release.rollout import Rollout
from include.core.spec import ModelSpec
from include.core.windows import windows_before
from include.settings import Settings
from include.stages.installation import Installation, open_installation
from include.stages.retraining import decide, open_incident
from tests.support.health_rows import health_row

GOOD, BAD = 0.79, 0.5


@pytest.fixture
def installation(tmp_path: Path, spec: ModelSpec) -> Installation:
    """An installation on which version 1 serves."""
    made = open_installation(Settings(home=tmp_path))
    nothing = made.store.release(spec.name, "production")
    made.store.swap_release(
        nothing, nothing.begin_canary("1", 100, Rollout("test", "1", lease=0.0), "test").promote("1", "test")
    )
    return made


def record(installation: Installation, spec: ModelSpec, values: dict[str, float | None], **changes: Any) -> None:
    for window, value in values.items():
        row = health_row(window, value, metric=spec.metrics.primary, n=5000, **changes)
        installation.store.record_health(spec.name, row)


def release(installation: Installation, spec: ModelSpec, version: str) -> None:
    now = installation.store.release(spec.name, "production")
    installation.store.swap_release(now, now.promote(version, "test"))


def test_without_health_the_policy_holds(installation: Installation, spec: ModelSpec) -> None:
    assert decide(installation, spec).verdict.answer == "hold"


def test_bad_windows_of_the_live_version_open_one_incident(installation: Installation, spec: ModelSpec) -> None:
    record(installation, spec, {"2013-04": BAD, "2013-05": BAD})
    decision = decide(installation, spec)
    assert (decision.verdict.answer, decision.window) == ("fail", "2013-05")
    incident = decision.as_incident()
    assert incident and incident.key == f"{spec.name}-2013-05"
    assert open_incident(installation, spec, incident) is True
    assert open_incident(installation, spec, incident) is False
    assert decide(installation, spec).incident == incident.key, "a lost trigger must be found again"


def test_a_bad_window_of_a_version_that_was_replaced_holds(installation: Installation, spec: ModelSpec) -> None:
    record(installation, spec, {"2013-04": BAD, "2013-05": BAD})
    release(installation, spec, "2")
    decision = decide(installation, spec)
    assert decision.verdict.answer == "hold"
    assert "version 2 serves now and has not been measured yet" in decision.verdict.reason
    assert decision.as_incident() is None


@pytest.mark.parametrize("waiting", [0, 11, 12, 40])
def test_however_many_windows_wait_for_truth_the_newest_with_truth_is_judged(
    installation: Installation, spec: ModelSpec, waiting: int
) -> None:
    windows = windows_before("2019-12", "month", waiting + 30)
    judged, young = windows[:30], windows[30:]
    record(installation, spec, dict.fromkeys(judged, BAD))
    record(installation, spec, dict.fromkeys(young), status="waiting", due=False)
    assert decide(installation, spec).window == judged[-1]
    assert decide(installation, spec).verdict.answer == "fail"
