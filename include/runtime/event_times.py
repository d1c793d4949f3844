"""Event timestamps of requests: read, and refused if they can't be meant.

Each makes a window. A typing error such as the year 0013, or a placeholder such as 9999-12-31, would make windows that
nobody asked for, and the newest of them would count as the newest window of the model.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


class EventTimeError(Exception):
    """An event timestamp is refused; the message says why and what to do."""


@dataclass(frozen=True)
class EventTimes:
    """The range of event timestamps that are accepted."""

    from_year: int = 1970
    days_ahead: int = 400

    def read(self, texts: Collection[str]) -> dict[str, str]:
        """Text → the timestamp in one form (ISO 8601); UTC unless it has an offset. Raises EventTimeError."""
        now, ahead = datetime.now(UTC).replace(tzinfo=None), timedelta(days=self.days_ahead)
        try:  # all at once, as long as none has an offset or is wrong
            times = [*map(datetime.fromisoformat, texts)]
            if min(times).year >= self.from_year and max(times) - now <= ahead:
                return dict(zip(texts, map(datetime.isoformat, times), strict=True))
        except (ValueError, TypeError):
            pass
        return {text: self._read(text, now, ahead) for text in texts}

    def _read(self, text: str, now: datetime, ahead: timedelta) -> str:
        try:
            time = datetime.fromisoformat(text)
            utc = time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):  # beyond the first or last day that datetime supports, too
            raise EventTimeError(f"{text!r} is not a time; write it like 2013-05-17T08:30:00") from None
        if utc.year < self.from_year:
            raise EventTimeError(
                f"{text!r} is before {self.from_year}. Send the time of the event (UTC), or lower "
                "data.event_time_from_year in model.yaml"
            )
        if utc - now > ahead:
            raise EventTimeError(
                f"{text!r} is more than {self.days_ahead} days in the future. Send the time of the event (UTC), or "
                "raise data.event_time_days_ahead in model.yaml"
            )
        return time.isoformat()
