"""Each window is measured by itself: what is wrong with one is named, heals by the next run, and holds up no other."""

from pathlib import Path
from typing import Any

import pytest

from include.core.errors import DataError, PlatformError
from tests.integration.monitored_model import MonitoredModel


def test_a_window_that_can_not_be_measured_is_named_and_holds_up_no_other(monitored: MonitoredModel) -> None:
    monitored.month("2013-03")
    for window in ("2013-04", "2013-05"):
        monitored.predict(window)
        monitored.truth_arrives(window)
    (segment,) = (monitored.home / "prediction_log" / "late").glob("*-2013-04.jsonl")
    monitored.gather()
    (part,) = (monitored.home / "lake" / "predictions" / "late" / "2013-04").glob("*.parquet")
    content = part.read_bytes()
    part.write_bytes(b"damaged")
    segment = segment.rename(segment.with_suffix(".away"))
    with pytest.raises(DataError, match=r"(?s)1 of 2 windows could not be measured.*2013-04: .*can't be read.*gone"):
        monitored.monitor("2013-05")
    assert monitored.health("2013-05").rows == 300, "a later window is measured"
    report = Path(monitored.health("2013-04").report)
    for page in (report, report.with_name("index.html")):
        assert "can&#39;t be read" in page.read_text()

    part.write_bytes(content)
    monitored.monitor("2013-05")
    healed = monitored.health("2013-04")
    assert (healed.rows, healed.problem) == (300, "")
    part.write_bytes(b"damaged again")
    segment.rename(segment.with_suffix(".jsonl"))
    monitored.monitor("2013-05")
    assert monitored.health("2013-04").quality == healed.quality, "gathered again from the segment"


def test_a_measured_window_keeps_its_figures_when_it_can_not_be_measured_again(monitored: MonitoredModel) -> None:
    monitored.month("2013-05")
    before = monitored.health("2013-05")
    metrics = monitored.home / "artifacts" / "late" / "1" / "metrics.json"
    content = metrics.read_bytes()
    metrics.write_bytes(b"{")
    with pytest.raises(DataError, match=r"2013-05: .*metrics\.json"):
        monitored.monitor("2013-05")
    assert monitored.health("2013-05").quality == before.quality
    metrics.write_bytes(content)
    monitored.monitor("2013-05")
    assert monitored.health("2013-05") == before


@pytest.fixture
def broken(monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two windows with truth, of which reading the truth of April raises an error."""
    from include.stages import monitoring

    read = monitoring.read_truth
    for window in ("2013-04", "2013-05"):
        monitored.predict(window)
        monitored.truth_arrives(window)

    def breaks(error: Exception) -> None:
        def reading(installation: Any, spec: Any, window: str) -> Any:
            if window == "2013-04":
                raise error
            return read(installation, spec, window)

        monkeypatch.setattr(monitoring, "read_truth", reading)

    return breaks


def test_a_library_s_exception_is_a_problem_of_its_window_only(monitored: MonitoredModel, broken: Any) -> None:
    broken(RuntimeError("no such codec"))
    with pytest.raises(DataError, match="1 of 2 windows could not be measured.*\n2013-04: RuntimeError: no such codec"):
        monitored.monitor("2013-05")
    assert monitored.health("2013-05").rows == 300


@pytest.mark.parametrize("error", [PlatformError("the warehouse does not respond"), ConnectionError("refused")])
def test_a_fault_of_the_platform_is_tried_again_after_the_others_were_measured(
    monitored: MonitoredModel, broken: Any, error: Exception
) -> None:
    """Airflow tries the task again; a problem of the data would wait for the next window."""
    broken(error)
    with pytest.raises(type(error)):
        monitored.monitor("2013-05")
    assert [row.window for row in monitored.store.health("late")] == ["2013-05"]
