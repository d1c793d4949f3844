"""Windows: the time partitions by which data, predictions, ground truth and health are keyed."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Literal

from include.core.errors import DataError

Grain = Literal["month", "week", "day"]

_FORMATS: dict[Grain, str] = {"month": "%Y-%m", "week": "%G-W%V", "day": "%Y-%m-%d"}
_EXAMPLES: dict[Grain, str] = {"month": "2013-05", "week": "2013-W20", "day": "2013-05-17"}
_PATTERNS: dict[Grain, str] = {
    "month": r"\d{4}-\d{2}",
    "week": r"\d{4}-W\d{2}",
    "day": r"\d{4}-\d{2}-\d{2}",
}


def window_of(time: datetime, grain: Grain) -> str:
    """The key of the window that contains ``time`` (UTC), for example ``2013-05``."""
    return time.strftime(_FORMATS[grain])


def is_window(key: str) -> bool:
    """Whether ``key`` has the format of a window key of any grain."""
    return any(re.fullmatch(pattern, key) for pattern in _PATTERNS.values())


def grain_of(key: str) -> Grain:
    """The grain of a window key; raises DataError if it has the format of none."""
    for grain, pattern in _PATTERNS.items():
        if re.fullmatch(pattern, key):
            return grain
    raise DataError(f"'{key}' is not a window. Write it like {', '.join(_EXAMPLES.values())}.")


def key_length(grain: Grain) -> int:
    """The number of characters of this grain's keys; no two grains have the same."""
    return len(_EXAMPLES[grain])


def in_grain(key: str, grain: Grain) -> str:
    """The window of this grain in which the window ``key``, of any grain, begins.

    Keys of different grains must never be compared as text: 2013-W20 would be later than every month of 2013.
    """
    return key if grain_of(key) == grain else window_of(window_bounds(key, grain_of(key))[0], grain)


def window_bounds(window: str, grain: Grain) -> tuple[datetime, datetime]:
    """Start of the window and of the next one, as naive UTC datetimes.

    Raises DataError when ``window`` is not a key of this grain.
    """
    try:
        if not re.fullmatch(_PATTERNS[grain], window):
            raise ValueError
        if grain == "month":
            start = datetime.strptime(window, "%Y-%m")
            return start, (start + timedelta(days=32)).replace(day=1)
        if grain == "week":
            start = datetime.strptime(window + "-1", "%G-W%V-%u")
            return start, start + timedelta(days=7)
        start = datetime.strptime(window, "%Y-%m-%d")
        return start, start + timedelta(days=1)
    except (ValueError, OverflowError):
        raise DataError(f"window '{window}' is not a {grain}. Write it like '{_EXAMPLES[grain]}'.") from None


def windows_before(window: str, grain: Grain, count: int) -> list[str]:
    """The ``count`` windows that end with ``window``, oldest first."""
    keys = [window]
    while len(keys) < count:
        start, _ = window_bounds(keys[-1], grain)
        keys.append(window_of(start - timedelta(hours=1), grain))
    return keys[::-1]
