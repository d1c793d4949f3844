"""The demo says what the policy says: as the sensor returned it, or by asking as the sensor does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo.story import Story
from include.core.release.rollout import Rollout
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.settings import Settings
from include.stages.installation import open_installation
from include.stages.retraining import decide
from tests.support.health_rows import health_row


def story(home: Path, spec: ModelSpec) -> Story:
    """A story of which only the installation is real."""
    nothing: Any = None
    return Story(
        home=home,
        lake=home,
        spec=spec,
        installation=open_installation(Settings(home=home)),
        airflow=nothing,
        sender=nothing,
        progress=nothing,
        view=nothing,
        year=home,
        months=[],
        rows_per_month=0,
    )


def test_where_the_sensor_was_skipped_the_demo_asks_as_the_sensor_does(tmp_path: Path, spec: ModelSpec) -> None:
    demo = story(tmp_path, spec)
    store = demo.installation.store
    nothing = store.release(spec.name, "production")
    store.swap_release(
        nothing, nothing.begin_canary("2", 100, Rollout("test", "2", lease=0.0), "test").promote("2", "test")
    )
    for window in ("2013-04", "2013-05"):
        store.record_health(spec.name, health_row(window, 0.5, metric=spec.metrics.primary, n=5000))
    verdict = demo._verdict({})
    assert verdict == decide(demo.installation, spec).verdict
    assert verdict.answer == "hold", "version 2 serves, and only version 1 was measured"


def test_what_the_sensor_returned_is_a_failed_verdict(tmp_path: Path, spec: ModelSpec) -> None:
    degraded = {"incident": "flights-2013-05", "window": "2013-05", "reason": "beyond", "signals": {"drop": 0.1}}
    assert story(tmp_path, spec)._verdict(degraded) == Verdict("fail", "beyond", {"drop": 0.1})
