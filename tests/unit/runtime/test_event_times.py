"""Event times that can't be meant are refused."""

from datetime import UTC, datetime, timedelta

import pytest

from include.runtime.event_times import EventTimes
from tests.unit.runtime.test_inference import asked, parsed, refusal

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    ("time", "problem"),
    [
        ("0001-01-01T00:00:00", "is before 1970. Send the time of the event (UTC), or lower data.event_time_from_year"),
        ("1969-12-31T23:59:59", "is before 1970"),
        ("1970-01-01T00:30:00+01:00", "is before 1970"),
        (
            "9999-12-31T23:59:59",
            "is more than 400 days in the future. Send the time of the event (UTC), or raise data.",
        ),
    ],
)
def test_an_event_time_that_can_not_be_meant_is_refused_with_its_field_and_the_remedy(time: str, problem: str) -> None:
    """It would make a window, such as 1-01 or 9999-12, and that may be the newest one of the model."""
    said = refusal(asked(rows=2, at={"data": ["2013-06-01T08:00:00", time]}))
    assert said.startswith(f"input 'at': {time!r} {problem}"), said
    assert said.endswith("in model.yaml")


def test_the_range_of_event_times_is_the_models() -> None:
    asked_at = [asked(at={"data": [time]}) for time in ("1871-01-01", TOMORROW)]
    wide, past = EventTimes(1871, 1), EventTimes(1871, 0)
    assert parsed(asked_at[0], times=wide).event_times == ["1871-01-01T00:00:00"]
    assert parsed(asked_at[1], times=wide).event_times == [TOMORROW]
    assert "is more than 0 days in the future" in refusal(asked_at[1], times=past)
