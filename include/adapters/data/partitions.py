"""Which windows of training data exist: the files of a path, or the time spans in which a query has rows."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from include.adapters.data.sources import connected, locate, source_name
from include.core.errors import DataError
from include.core.spec import Data, FileSource, SqlSource
from include.core.windows import Grain, grain_of, window_bounds, window_of

EARLIEST = datetime.fromisoformat("1900-01-01")
"""Rows before this are never looked for in a query's result."""


def newest_window(home: Path, data: Data, grain: Grain) -> str:
    """The newest window that has data; of a query's result, the newest one that has ended."""
    windows = list(partition_states(home, data, grain))
    if not windows:
        raise DataError(
            f"{source_name(data.source, '{window}')}: no partition exists yet. Load data, or choose the window to "
            "train up to."
        )
    return windows[-1]


def partition_states(
    home: Path, data: Data, grain: Grain, after: datetime | None = None, now: datetime | None = None
) -> dict[str, str]:
    """The windows that have data, oldest first, each with a text that changes when its data does.

    Files that are not named for a window of this grain, such as temporary ones, are ignored. A query's result is not
    listed as a whole: these are the windows from ``after`` on (naive UTC; without it, only the newest one), of those
    that have ended at ``now``. Raises DataError or PlatformError like :func:`read_window`.
    """
    if isinstance(data.source, SqlSource):
        today = now or datetime.now(UTC).replace(tzinfo=None)
        return _of_query(data.source, data.event_time, grain, after, window_bounds(window_of(today, grain), grain)[0])
    return _of_files(home, data.source, grain)


def end_of(windows: set[str]) -> datetime | None:
    """The end of the latest of these windows, of any grain (naive UTC); None if there are none."""
    return max((window_bounds(key, grain_of(key))[1] for key in windows), default=None)


def _of_files(home: Path, source: FileSource, grain: Grain) -> dict[str, str]:
    mark = "EVERGREEN-WINDOW"
    filesystem, located = locate(home, source, mark)
    filesystem.invalidate_cache()  # listings of object storage are cached for the lifetime of the process
    filesystem.dircache.clear()  # for filesystems where the call above does nothing, such as HTTP
    first, *others = map(re.escape, located.split(mark))
    named = re.compile(first + r"(?P<window>[^/]+?)" + "(?P=window)".join(others))
    pattern = re.sub(r"([*?[])", r"[\1]", located).replace(mark, "*")
    states = {}
    for path, about in filesystem.glob(pattern, detail=True).items():
        match = named.fullmatch(path)
        if match and _is_of(match["window"], grain):
            states[match["window"]] = str(about)
    return dict(sorted(states.items()))


def _is_of(key: str, grain: Grain) -> bool:
    try:
        window_bounds(key, grain)
    except DataError:
        return False
    return True


def _of_query(
    source: SqlSource, event_time: str, grain: Grain, after: datetime | None, until: datetime
) -> dict[str, str]:
    import sqlalchemy as sa

    time: sa.ColumnElement[Any] = sa.column(event_time)
    rows = sa.text(f"({source.query.rstrip().rstrip(';')}) AS evergreen_rows")
    statement = sa.select(sa.func.count(), sa.func.min(time), sa.func.max(time)).select_from(rows)
    states: dict[str, str] = {}
    with connected(source, "{window}") as connection:

        def between(start: datetime, end: datetime) -> tuple[int, datetime | None, datetime | None]:
            count, oldest, newest = connection.execute(statement, {"start": start, "end": end}).one()
            return count, _time(oldest, source), _time(newest, source)

        start = after or EARLIEST
        while start < until:
            _, oldest, newest = between(start, until)
            event = oldest if after else newest
            if event is None:
                break
            window = window_of(event, grain)
            begins, ends = window_bounds(window, grain)
            if ends <= start:
                raise DataError(
                    f"{source_name(source, window)}: rows at {event} although :start is {start}. Compare the column "
                    "with both :start and :end in the query."
                )
            states[window] = str(between(begins, ends))
            start = ends
    return states


def _time(value: Any, source: SqlSource) -> datetime | None:
    """An event timestamp as naive UTC; some databases return text."""
    if value is None:
        return None
    try:
        time = pd.Timestamp(value)
    except (ValueError, TypeError):
        raise DataError(
            f"{source_name(source, '{window}')}: {value!r} is not a time. Name its column of times as data.event_time."
        ) from None
    return (time if time.tzinfo is None else time.tz_convert("UTC").tz_localize(None)).to_pydatetime()
