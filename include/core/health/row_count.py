"""Whether a window has about as many predictions as earlier windows had.

Pure: counts come in as values. Counts are compared on a logarithmic scale, since traffic grows by factors, by the
modified z-score of B. Iglewicz, D. C. Hoaglin, *How to Detect and Handle Outliers* (ASQC, 1993): distance from the
median in units of the median absolute deviation (MAD), which one odd window can't move; 3.5 is their limit. The MAD of
few values is corrected upwards (C. Croux, P. J. Rousseeuw, "Time-efficient algorithms for two highly robust estimators
of scale", 1992), and is never below what chance alone does to a count (Poisson: 1 / sqrt(median)). As with drift, what
is certain may still not matter, so the count must also be half or double of the median. Simulated: where counts vary by
20 % (log-normal), 1 of 700 windows is called unusual after five earlier ones; with 50 %, 1 of 20, and 1 of 55 after
twelve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from include.core.health.record import RowCount

WINDOWS_AT_LEAST = 5
"""Fewer earlier windows say too little about what is usual."""
NEWEST_WINDOWS = 12
"""So many of the earlier windows are looked at: traffic changes over the years."""
LARGEST_SCORE = 3.5
LARGEST_FACTOR = 2.0

_SMALL_SAMPLES = {5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}


def judge_row_count(rows: int, earlier: Sequence[int], *, over: bool) -> RowCount:
    """``rows`` of a window against those of the ``earlier`` windows (each 1 or more, oldest first).

    ``over`` says whether the window has ended: until then, few rows mean nothing.
    """
    looked_at = list(earlier)[-NEWEST_WINDOWS:]
    count = RowCount(rows=rows, windows=len(looked_at))
    if not over:
        return replace(count, not_judged="the window is not over")
    if len(looked_at) < WINDOWS_AT_LEAST:
        return replace(count, not_judged=f"it takes {WINDOWS_AT_LEAST} earlier windows with predictions")
    logs = [math.log(one) for one in looked_at]
    middle = median(logs)
    few = _SMALL_SAMPLES.get(len(logs), len(logs) / (len(logs) - 0.8))
    spread = max(1.4826 * few * median(abs(value - middle) for value in logs), math.exp(-middle / 2))
    reach = math.exp(max(LARGEST_SCORE * spread, math.log(LARGEST_FACTOR)))
    usual = math.exp(middle)
    low, high = usual / reach, usual * reach
    count = replace(count, median=usual, low=low, high=high)
    if low <= rows <= high:
        return count
    word = "few" if rows < usual else "many"
    return replace(
        count,
        finding=f"unusually {word} predictions: {rows}, while the median of {len(looked_at)} earlier windows is "
        f"{usual:.0f} ({math.ceil(low)} to {math.floor(high)} would be usual)",
    )
