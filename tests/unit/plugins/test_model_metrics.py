"""The models' part of the metrics page is written again after each change, and only then."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from evergreen import model_metrics
from evergreen.model_metrics import model_pages
from include.core.release.release import Release
from include.settings import Settings
from include.stages.installation import Installation, open_installation
from tests.support.health_rows import health_row, incident
from tests.support.specs import model_spec

TIDES, FARES = model_spec(name="tides"), model_spec(name="fares")
Change = Callable[[Installation], object]


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setattr(model_metrics, "_written", {})
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    return open_installation(Settings.from_environment())


def fresh(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The pages as a process writes them that knows none."""
    with monkeypatch.context() as patch:
        patch.setattr(model_metrics, "_written", {})
        return model_pages(installation, [TIDES, FARES])


def deployed(version: str) -> Change:
    """Serve the version to everybody."""

    def change(installation: Installation) -> None:
        now = installation.store.release("tides", "production")
        after = Release("tides", "production", now.revision + 1, {version: 100}, champion=version)
        installation.store.swap_release(now, after)

    return change


def measured(window: str, predictions: int) -> Change:
    """Measure the health of a window, perhaps again."""
    return lambda installation: installation.store.record_health(
        "tides", health_row(window, 0.7, predictions=predictions)
    )


def test_each_change_is_on_the_next_page(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[Change] = [
        deployed("1"),
        measured("2013-01", 100),
        measured("2013-02", 100),
        measured("2013-02", 90),
        measured("2013-01", 80),
        lambda here: here.store.record_incident("tides", incident("2013-02", "tides")),
        deployed("2"),
    ]
    before = model_pages(installation, [TIDES, FARES])
    for number, change in enumerate(changes):
        change(installation)
        after = model_pages(installation, [TIDES, FARES])
        assert after == fresh(installation, monkeypatch), number
        assert after[1] == before[1], number


def test_a_clock_that_was_set_back_hides_no_change(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    for window in ("2013-01", "2013-02"):
        measured(window, 100)(installation)
    before = model_pages(installation, [TIDES])
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000.0)
    measured("2013-02", 90)(installation)
    assert model_pages(installation, [TIDES]) != before


def test_a_changed_specification_is_on_the_next_page(installation: Installation) -> None:
    before = model_pages(installation, [TIDES])
    other = model_spec(name="tides", deployment={"memory_mb": 700})
    after = model_pages(installation, [other])
    assert before != after
    assert b"evergreen_memory_limit_bytes" in after[0]
    assert b"7.340032e+08" in after[0]
    assert model_pages(installation, [TIDES]) == before


def test_a_model_that_went_and_came_back_is_written_again(installation: Installation) -> None:
    before = model_pages(installation, [TIDES, FARES])
    assert model_pages(installation, [FARES]) == before[1:]
    assert set(model_metrics._written) == {"fares"}
    assert model_pages(installation, [TIDES, FARES]) == before


def test_what_has_not_changed_is_not_read_again(installation: Installation) -> None:
    """With a thousand models, reading all took longer than Prometheus waits."""
    specs = [model_spec(name=f"model-{number}") for number in range(20)]
    statements: list[str] = []
    sa.event.listen(installation.store.engine, "before_cursor_execute", lambda *given: statements.append(str(given[2])))
    first = model_pages(installation, specs)
    assert len(statements) > len(specs)
    statements.clear()
    assert model_pages(installation, specs) == first
    assert len(statements) == 3
    assert not any("JOIN" in statement for statement in statements)
